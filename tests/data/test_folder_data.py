"""Folders of images: what is found in them, and what is said when something is wrong."""

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import pixels_of, refusal, save_image
from PIL import Image
from prune.engine.data import open_data
from prune.engine.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared"


def test_small_images_are_read_as_they_are(root):
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    (root / "train" / "cat" / ".hidden.png").write_text("no image")
    (root / "train" / ".git").mkdir()
    data = open_data("imagefolder", root)
    assert data.info.class_names == ("cat", "dog")
    assert data.info.input_size == (3, 8, 8)
    assert data.info.mean == (0.485, 0.456, 0.406)
    assert (data.size("train"), data.size("test")) == (6, 2)
    _, labels = next(data.batches("train", 6))
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    names = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)]
    wanted = np.stack([np.asarray(Image.open(root / "train" / name)) for name in names]).transpose(0, 3, 1, 2)
    assert torch.equal(pixels_of(data, "train"), torch.from_numpy(wanted))


def test_test_folder_nested_folders_and_other_modes(root):
    (root / "val").rename(root / "test")
    save_image(root / "train" / "cat" / "more" / "grey.PNG", mode="L")
    save_image(root / "train" / "cat" / "palette.png", mode="P")
    data = open_data("imagefolder", root)
    assert (data.size("train"), data.size("test")) == (8, 2)
    assert pixels_of(data, "train").shape == (8, 3, 8, 8)


def test_images_of_other_sizes_need_an_image_size(root):
    save_image(root / "train" / "dog" / "1.png", height=9, width=12)
    message = refusal(root)
    assert message.endswith("is 9x12, the first one 8x8; give `image_size` to resize them all")
    assert str(root / "train" / "dog" / "1.png") in message
    data = open_data("imagefolder", root, image_size=6)
    assert data.info.input_size == (3, 6, 6)
    assert data.size("train") == 6


def test_splits_of_different_sizes_need_an_image_size(root):
    for name in ("cat", "dog"):
        save_image(root / "val" / name / "0.png", height=10, width=8)
    assert "are 8x8, those in" in refusal(root)
    assert refusal(root).endswith("10x8; give `image_size` to resize them all")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n damaged"])
def test_unreadable_images_are_named(root, content):
    (root / "train" / "dog" / "1.png").write_bytes(content)
    message = refusal(root)
    assert message.startswith(f"cannot read image {str(root / 'train' / 'dog' / '1.png')!r}: ")
    assert "\n" not in message


def test_truncated_images_are_named(root):
    path = root / "train" / "cat" / "2.png"
    path.write_bytes(path.read_bytes()[:-60])
    assert refusal(root).startswith(f"cannot read image {str(path)!r}: ")


def test_layouts_that_are_no_data_set(root, tmp_path):
    with pytest.raises(DataError, match="data set 'imagefolder' needs `data_dir`"):
        open_data("imagefolder")
    assert refusal(tmp_path / "none").startswith(
        f"no folder {str(tmp_path / 'none')!r}; `data_dir` names one"
    )
    (root / "val").rename(root / "held")
    assert refusal(root).startswith(f"no folder 'val' or 'test' in {str(root)!r}; expected train/ and val/")
    (root / "held").rename(root / "val")
    (root / "train").rename(root / "training")
    assert refusal(root).startswith(f"no folder 'train' in {str(root)!r}; expected train/ and val/")
    save_image(root / "train" / "0.png")
    assert refusal(root).startswith(f"no class folders in {str(root / 'train')!r}")


def test_classes_that_are_empty_or_differ(root):
    (root / "train" / "bird").mkdir()
    assert refusal(root).startswith(f"no images in {str(root / 'train' / 'bird')!r}; known suffixes are .jpg")
    save_image(root / "train" / "bird" / "0.png")
    assert refusal(root).endswith(f"the two splits differ: 'bird' is only in {str(root / 'train')!r}")


def test_control_characters_in_the_names_of_classes_become_text(root):
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "c\x1b[2Jat")
    assert r"c\x1b[2Jat" in open_data("imagefolder", data_dir=root).info.class_names


# The first releases of Python 3.11 have no filters for archives, and later ones warn where none is named.
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def test_real_images(tmp_path):
    script = SHARED / "data" / "unpack_cifar10.py"
    if not script.exists():
        pytest.skip("the real images are not here (../shared/data)")
    archive = SHARED / "data" / "cifar10-mini.tar.xz"
    shutil.unpack_archive(archive, tmp_path / "unpacked", **SAFELY)
    (train,) = (tmp_path / "unpacked").rglob("train")
    data = open_data("imagefolder", train.parent)
    assert (data.size("train"), data.size("test")) == (5000, 2500)
    assert data.info.num_classes == 10
    assert data.info.input_size == (3, 32, 32)
    pixels = torch.cat([images for images, _ in data.batches("train", 500)])
    assert pixels.mean((0, 2, 3)).abs().max() < 0.3, "normalised, more or less"
    _, labels = next(data.batches("train", 5000, shuffle_seed=0))
    assert labels.bincount().tolist() == [500] * 10


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
        b"BLP2" + bytes(200),
        b"",
        b"%PDF-1.4",
    ],
)
def test_only_common_formats_are_opened_whatever_the_name_says(root, content, monkeypatch):
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", forbidden)
    (root / "train" / "dog" / "1.png").write_bytes(content)
    assert "its content is none of PNG, JPEG, " in refusal(root)


def test_a_bomb_of_pixels_is_refused_before_it_is_unpacked(root):
    Image.new("L", (9_000, 9_000)).save(root / "train" / "cat" / "0.png", optimize=True)
    assert "9000x9000 pixels in " in refusal(root)


def test_a_pipe_named_as_an_image_is_not_waited_for(root):
    path = root / "train" / "cat" / "1.png"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in refusal(root)


def test_folders_linked_in_a_circle_are_read_once(root):
    (root / "train" / "cat" / "again").symlink_to(root / "train" / "cat")
    (root / "train" / "cat" / "all").symlink_to(root / "train")
    names = open_data("imagefolder", root).size("train")
    assert names >= 6
    assert names < 20
