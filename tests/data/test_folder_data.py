"""Folders of images: what is found, what is cached, and what is said when something is wrong."""

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prune.engine.data import decode_cache, folder, open_data
from prune.engine.errors import DataError

# Python 3.12 and later warn of any fork of a process with threads, and a data loader's workers are forks.
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "cache"))


def save_image(path: Path, height: int = 8, width: int = 8, seed: int = 0, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes of three training images and one test image each."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(3):
            save_image(tmp_path / "set" / "train" / name / f"{number}.png", seed=10 * label + number)
        save_image(tmp_path / "set" / "val" / name / "0.png", seed=10 * label + 5)
    return tmp_path / "set"


@pytest.fixture
def decoded(monkeypatch):
    """Count how many images are decoded."""
    counts: list[int] = []
    decode_all = folder.decode_all

    def counting(listing, size):
        counts.append(len(listing.names))
        return decode_all(listing, size)

    monkeypatch.setattr(folder, "decode_all", counting)
    return counts


def pixels_of(data, split: str) -> torch.Tensor:
    """The bytes behind the normalised images."""
    images, _ = next(data.batches(split, 100))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.info.mean, data.info.std))
    return ((images * std + mean) * 255).round().to(torch.uint8)


def refusal(root: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        list(open_data("imagefolder", root, **options).batches("train", 4))
    return str(caught.value)


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


def test_decoded_images_are_cached_until_a_file_changes(root, decoded, tmp_path):
    first = pixels_of(open_data("imagefolder", root), "train")
    assert decoded == [6, 2]
    again = open_data("imagefolder", root)
    assert decoded == [6, 2], "the second time nothing is decoded"
    assert torch.equal(pixels_of(again, "train"), first)

    os.utime(root / "train" / "cat" / "0.png", ns=(1, 1))
    open_data("imagefolder", root)
    assert decoded == [6, 2, 6], "a touched file decodes its split again"

    save_image(root / "val" / "dog" / "0.png", seed=77)
    changed = open_data("imagefolder", root)
    assert decoded == [6, 2, 6, 2]
    assert torch.equal(
        pixels_of(changed, "test")[1],
        torch.from_numpy(np.asarray(Image.open(root / "val" / "dog" / "0.png")).transpose(2, 0, 1).copy()),
    )

    (root / "train" / "dog" / "2.png").rename(root / "train" / "dog" / "9.png")
    open_data("imagefolder", root)
    open_data("imagefolder", root, image_size=4)
    assert decoded == [6, 2, 6, 2, 6, 6, 2], "renamed files and another size count as well"
    stored = list((tmp_path / "cache" / "decoded").iterdir())
    assert len(stored) == 4, "two splits in two sizes: older versions are gone, and no partial file is left"


def test_a_damaged_or_unwritable_cache_is_done_without(root, decoded, tmp_path, monkeypatch):
    first = pixels_of(open_data("imagefolder", root), "train")
    for stored in (tmp_path / "cache" / "decoded").iterdir():
        stored.write_bytes(stored.read_bytes()[:150])
    assert torch.equal(pixels_of(open_data("imagefolder", root), "train"), first)
    assert decoded == [6, 2, 6, 2]
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "a file" / "cache"))
    assert torch.equal(pixels_of(open_data("imagefolder", root), "train"), first)


def test_cache_folder(monkeypatch, tmp_path):
    assert decode_cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("PRUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert decode_cache.cache_folder() == Path("/somewhere/prune")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert decode_cache.cache_folder() == Path.home() / ".cache" / "prune"


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


@pytest.fixture
def large_root(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        for split in ("train", "val"):
            for number in range(3):
                size = {"height": 80 + 7 * number, "width": 100 - 5 * number}
                save_image(tmp_path / "large" / split / name / f"{number}.jpg", seed=label + number, **size)
    return tmp_path / "large"


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_large_images_are_streamed_the_same_whatever_the_batches(large_root, workers):
    data = open_data("imagenet", large_root, image_size=70, workers=workers)
    assert data.info.input_size == (3, 70, 70)
    options = {"augment": True, "shuffle_seed": 2, "epoch": 1}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    by_batch_size = []
    for batch_size in (6, 4):
        batches = list(data.batches("train", batch_size, **options))
        by_batch_size.append((torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])))
    assert torch.equal(by_batch_size[0][0], by_batch_size[1][0])
    assert torch.equal(by_batch_size[0][1], by_batch_size[1][1])
    assert torch.equal(torch.get_rng_state(), state), "nobody else's random numbers are used up"
    other_epoch, _ = next(data.batches("train", 6, augment=True, shuffle_seed=2, epoch=2))
    assert not torch.equal(other_epoch, by_batch_size[0][0])
    in_process = open_data("imagenet", large_root, image_size=70)
    assert torch.equal(next(in_process.batches("train", 6, **options))[0], by_batch_size[0][0])


def test_large_images_are_tested_on_the_usual_crop(large_root):
    from torchvision.transforms import v2

    data = open_data("imagefolder", large_root, image_size=70)
    usual = v2.Compose([v2.Resize(80), v2.CenterCrop(70), v2.PILToTensor()])
    files = sorted((large_root / "val").rglob("*.jpg"))
    wanted = torch.stack([usual(Image.open(file)) for file in files])
    assert torch.equal(pixels_of(data, "test"), wanted)


def test_streaming_is_the_default_for_large_images(large_root):
    assert open_data("imagefolder", large_root).info.input_size == (3, 224, 224)


@forks
@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_large_images_are_named_in_one_line(large_root, workers):
    path = large_root / "train" / "dog" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])
    message = refusal(large_root, image_size=70, workers=workers)
    assert message.startswith(f"cannot read image {str(path)!r}: ")
    assert "\n" not in message


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


def stored(root: Path) -> Path:
    open_data("imagefolder", root)
    return next((decode_cache.cache_folder() / "decoded").glob("*.npy"))


def test_damaged_pixels_in_the_cache_are_decoded_again(root, decoded):
    path = stored(root)
    before = pixels_of(open_data("imagefolder", root), "train")
    assert decoded == [6, 2]
    for split in path.parent.glob("*.npy"):
        content = bytearray(split.read_bytes())
        content[200] ^= 1
        split.write_bytes(content)
    assert torch.equal(pixels_of(open_data("imagefolder", root), "train"), before)
    assert decoded == [6, 2, 6, 2]


def test_an_image_replaced_at_equal_size_and_time_is_decoded_again(root, decoded):
    stored(root)
    path = root / "train" / "cat" / "0.png"
    status = path.stat()
    content = path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    open_data("imagefolder", root)
    assert decoded == [6, 2, 6]


def test_a_cache_cut_under_a_run_does_not_end_it(root):
    path = stored(root)
    data = open_data("imagefolder", root)
    with path.open("r+b") as file:
        file.truncate(10)
    assert pixels_of(data, "train").shape[0] == 6


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
