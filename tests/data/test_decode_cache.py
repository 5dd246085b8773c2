"""Decoded images are kept until a file changes; a cache that is damaged or locked is done without."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import pixels_of, save_image
from PIL import Image
from prune.engine.data import decode_cache, folder, open_data


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
