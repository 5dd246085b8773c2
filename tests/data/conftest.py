"""A cache of its own for every test, and a small folder of images."""

import pytest
import torch
from image_folders import save_image


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Two classes of three training images and one test image each."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(3):
            save_image(tmp_path / "set" / "train" / name / f"{number}.png", seed=10 * label + number)
        save_image(tmp_path / "set" / "val" / name / "0.png", seed=10 * label + 5)
    return tmp_path / "set"
