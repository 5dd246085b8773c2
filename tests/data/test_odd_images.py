"""Images that are not what most are: what becomes of each is a rule that the README states."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prune.engine.data import open_data
from prune.engine.data.decode import decode_rgb, size_of
from prune.engine.errors import DataError

forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def pixels(height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def folder(root: Path, side: int = 16) -> Path:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(pixels(side, side)).save(root / split / name / f"{number}.png")
    return root


def read_all(root: Path, **options: object) -> int:
    data = open_data("imagefolder", root, **options)
    return sum(len(labels_N) for split in ("train", "test") for _, labels_N in data.batches(split, 4))


def refusal(root: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read_all(root, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "RGBA", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.fromarray(pixels()).convert(mode).save(path)
    assert (decode_rgb(path).mode, decode_rgb(path).size) == ("RGB", (16, 16))


def test_transparency_is_dropped(tmp_path):
    see_through = np.dstack([np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4), np.uint8)])
    Image.fromarray(see_through).save(tmp_path / "x.png")
    assert (np.asarray(decode_rgb(tmp_path / "x.png")) == 200).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    Image.fromarray(np.array([[0, 255, 256, 40000, 65535]], np.uint16)).save(tmp_path / f"x.{suffix}")
    assert np.asarray(decode_rgb(tmp_path / f"x.{suffix}"))[0, :, 0].tolist() == [0, 0, 1, 156, 255]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused(tmp_path, kind):
    root = folder(tmp_path / "set")
    path = root / "train" / "cat" / "0.tif"
    Image.fromarray(np.full((16, 16), 1, kind)).save(path)
    assert refusal(root) == (
        f"cannot read image {str(path)!r}: its pixels are 32 bits wide; save it with 8 or 16"
    )


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path, suffix):
    path, first, second = (
        tmp_path / f"x.{suffix}",
        Image.new("RGB", (16, 16), "red"),
        Image.new("RGB", (16, 16), "blue"),
    )
    first.save(path, save_all=True, append_images=[second])
    assert np.asarray(decode_rgb(path)).mean((0, 1)) == pytest.approx([255, 0, 0], abs=4)


def test_exif_turns_nothing(tmp_path):
    image = Image.fromarray(pixels(16, 24))
    exif = image.getexif()
    exif[0x112] = 6  # a quarter turn
    image.save(tmp_path / "x.png", exif=exif)
    assert size_of(tmp_path / "x.png") == (16, 24)
    assert (np.asarray(decode_rgb(tmp_path / "x.png")) == pixels(16, 24)).all()


def test_a_gigapixel_is_refused_before_it_is_unpacked(tmp_path):
    root = folder(tmp_path / "set")
    path = root / "train" / "cat" / "0.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert refusal(root).startswith(f"cannot read image {str(path)!r}: Image size (400000000 pixels)")
    assert refusal(root, image_size=8).startswith(f"cannot read image {str(path)!r}")


@pytest.mark.parametrize("side", [16, 80])
def test_truncated_and_empty_files_are_refused(tmp_path, side):
    root = folder(tmp_path / "set", side)
    path = root / "train" / "dog" / "1.jpg"
    Image.fromarray(pixels(side, side)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(root).startswith(f"cannot read image {str(path)!r}: ")
    path.write_bytes(b"")
    assert refusal(root).startswith(f"cannot read image {str(path)!r}: its content is none of PNG")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_of_one_split_alone_is_refused(tmp_path, split):
    root = folder(tmp_path / "set")
    (root / split / "dog").rename(root / split / "bird")
    assert "the class folders of the two splits differ: " in refusal(root)


@pytest.mark.skipif(sys.platform == "darwin", reason="file names there are UTF-8")
def test_names_that_are_no_utf_8(tmp_path):
    root = folder(tmp_path / "set")
    for split in ("train", "val"):
        os.rename(os.fsencode(root / split / "cat"), os.fsencode(root / split) + b"/\xff")
        here = os.fsencode(root / split) + b"/\xff/"
        os.rename(here + b"0.png", here + b"\xfe.png")
    data = open_data("imagefolder", root)
    assert data.info.class_names == ("dog", "\udcff")
    assert read_all(root) == 12
    (root / "train" / "\udcff" / "\udcfe.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot read image '.*\\udcff.*\\udcfe.png'"):
        read_all(root)


@pytest.mark.parametrize("target", ["loop.png", "nowhere.png"])
@pytest.mark.parametrize("side", [16, 80])
def test_links_that_lead_nowhere_are_refused(tmp_path, target, side):
    root = folder(tmp_path / "set", side)
    path = root / "train" / "cat" / "loop.png"
    path.symlink_to(target)
    assert refusal(root).startswith((f"cannot read {str(path)!r}: ", f"cannot read image {str(path)!r}: "))
    path.unlink()
    (root / "train" / "loop").symlink_to("loop")
    assert refusal(root).startswith(f"cannot read {str(root / 'train' / 'loop')!r}: ")


def test_a_file_removed_in_the_middle_of_an_epoch_is_named(tmp_path):
    root = folder(tmp_path / "set", 80)
    batches = open_data("imagefolder", root).batches("train", 2)
    next(batches)
    path = root / "train" / "dog" / "2.png"  # of the last batch
    path.unlink()
    with pytest.raises(DataError, match=f"cannot read image '{path}': .*No such file"):
        list(batches)


@forks
def test_a_file_that_is_gone_is_named_by_a_worker_too(tmp_path):
    root = folder(tmp_path / "set", 80)
    batches = open_data("imagefolder", root, workers=1).batches("train", 2)
    (root / "train" / "dog" / "2.png").unlink()
    with pytest.raises(DataError, match=r"cannot read image '.*dog/2.png': .*No such file"):
        list(batches)


def test_a_run_whose_image_is_gone_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from prune.cli.main import main
    from prune.engine.data import stream

    monkeypatch.chdir(tmp_path)
    path = folder(tmp_path / "set", 80) / "train" / "dog" / "2.png"
    (tmp_path / "own_tiny.py").write_text(
        "from torch import nn\n"
        "def build(num_classes):\n"
        "    conv = nn.Conv2d(3, 4, 3, stride=4)\n"
        "    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    content, seen, decode = path.read_bytes(), 0, stream.decode_rgb

    def decode_and_remove(file: Path) -> Image.Image:
        nonlocal seen
        seen += 1
        if seen == 12:  # in the first epoch's test, or the second epoch
            path.unlink()
        return decode(file)

    monkeypatch.setattr(stream, "decode_rgb", decode_and_remove)
    words = "train-base --arch own_tiny:build --data-dir set --image-size 80 --batch-size 2 --epochs 3"
    assert main([*words.split(), "--workers", "0", "--precision", "fp32", "--out", "run"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: cannot read image 'set/train/dog/2.png'") or "cannot read '" in said
    assert said.endswith("go on with: prune train-base --resume run")
    status = os.stat(path.parent / "1.png")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert main(["train-base", "--resume", "run", "--anyway"]) == 0
