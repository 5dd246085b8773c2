"""Folders of images: written, read, and refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune.engine.data import open_data
from prune.engine.errors import DataError


def save_image(path: Path, height: int = 8, width: int = 8, seed: int = 0, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def pixels_of(data, split: str) -> torch.Tensor:
    """The bytes behind the normalised images."""
    images, _ = next(data.batches(split, 100))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.info.mean, data.info.std))
    return ((images * std + mean) * 255).round().to(torch.uint8)


def refusal(root: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        list(open_data("imagefolder", root, **options).batches("train", 4))
    return str(caught.value)
