"""The 1,797 handwritten digits that come with scikit-learn: a real data set that needs no download."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .base import DataInfo
from .keys import ORDER, draw, sample_keys
from .memory import MemoryData
from .options import Options

_SPLIT_SEED = 0


def open_digits(options: Options) -> MemoryData:
    """Open the digits as 16x16 images: every pixel doubled both ways, three equal channels.

    1,437 images train and 360 test, every class split alike and always the same way. Augmented by shifts of
    one pixel, never flipped.

    Raises:
        DataError: scikit-learn is not installed.
    """
    options.refuse_image_size_other_than(16)
    grey_NHW, labels = _read()
    bytes_NHW = np.rint(grey_NHW * (255 / 16)).astype(np.uint8)
    doubled_NHW = torch.from_numpy(bytes_NHW.repeat(2, axis=1).repeat(2, axis=2))
    images_NCHW = doubled_NHW[:, None].repeat(1, 3, 1, 1)
    labels_N = torch.from_numpy(labels)

    positions = _split(labels_N)
    return MemoryData(
        DataInfo("digits", 10, tuple("0123456789"), (3, 16, 16), mean=(0.305,) * 3, std=(0.376,) * 3),
        {split: images_NCHW[chosen] for split, chosen in positions.items()},
        {split: labels_N[chosen] for split, chosen in positions.items()},
        crop_padding=1,
        flip=False,
    )


@cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    """Pixels from 0 to 16 and classes, from scikit-learn's file: to import that takes a second."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError(
            "data set 'digits' needs scikit-learn, which is not installed; pip install 'prune-cnn[digits]'"
        )
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        rows = np.loadtxt(path, delimiter=",")
        pixels_ND, labels_N = rows[:, :-1], rows[:, -1]
    else:  # another version may keep it elsewhere
        from sklearn.datasets import load_digits

        pixels_ND, labels_N = load_digits(return_X_y=True)
    return pixels_ND.reshape(-1, 8, 8), labels_N.astype(np.int64)


def _split(labels_N: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every fifth image tests, of the images sorted by class and, within a class, at random."""
    keys_N = sample_keys(_SPLIT_SEED, 0, torch.arange(len(labels_N)))
    shuffled_N = draw(keys_N, ORDER, below=2**63 - 1).argsort(stable=True)
    by_class_N = shuffled_N[labels_N[shuffled_N].argsort(stable=True)]
    is_test_N = torch.arange(len(labels_N)) % 5 == 0
    return {"train": by_class_N[~is_test_N].sort().values, "test": by_class_N[is_test_N].sort().values}
