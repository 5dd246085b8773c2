"""CIFAR-10 and CIFAR-100, as torchvision reads them."""

import sys
import warnings
from contextlib import redirect_stdout

import numpy as np
import torch
from torchvision import datasets

from ..errors import DataError
from .base import SPLITS, DataInfo
from .decode_cache import cache_folder
from .memory import MemoryData
from .options import Options

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training images of CIFAR-10

_DATASETS = {
    "cifar10": (datasets.CIFAR10, "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"),
    "cifar100": (datasets.CIFAR100, "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"),
}


def open_cifar(options: Options) -> MemoryData:
    """Open CIFAR in `data_dir`, by default the user's cache folder.

    Krizhevsky, Learning multiple layers of features from tiny images, 2009.

    Raises:
        DataError: it is not there and may not or cannot be downloaded.
    """
    options.refuse_image_size_other_than(32)
    splits = {split: _load(options, train=split == "train") for split in SPLITS}
    classes = tuple(splits["train"].classes)
    info = DataInfo(options.name, len(classes), classes, (3, 32, 32), MEAN, STD)
    images = {
        split: torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous() for split, data in splits.items()
    }
    labels = {split: torch.tensor(data.targets) for split, data in splits.items()}
    return MemoryData(info, images, labels, crop_padding=4, flip=True)


def _load(options: Options, train: bool) -> datasets.CIFAR10:
    dataset, address = _DATASETS[options.name]
    root = options.data_dir or cache_folder() / "datasets"
    try:
        # torchvision reports a download on stdout, and NumPy warns about the age of the files' pickles.
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return dataset(str(root), train=train, download=options.download)
    except (OSError, RuntimeError) as error:
        reason = f"could not be downloaded ({error})" if options.download else "is not there or incomplete"
        raise DataError(
            f"{options.name} in {str(root)!r} {reason}; pass `download`, or unpack {address} there, "
            "or use `dataset` imagefolder `data_dir` DIR"
        ) from error
