"""What a weight file holds in memory: named arrays of two kinds, float32 and int64."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import BadWeightFile


@dataclass
class WeightFile:
    """A network's weights by name, with what is known about them.

    Attributes:
        tensors: arrays by dotted name, in network order.
        meta: JSON-able facts; the key `format` belongs to the file and is never in here.
        deps: ResRep's list of convolution widths, int64, where the architecture defines one.
        verified: was it read from a file with checksums, all of which agreed?
    """

    tensors: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)
    deps: np.ndarray | None = None
    verified: bool = field(default=False, compare=False)


def normalised(array: np.ndarray, what: str) -> np.ndarray:
    """Return a fresh C-ordered copy of a tensor: floats as float32, booleans and integers as int64.

    Args:
        what: the tensor and its file, for the error.
    Raises:
        BadWeightFile: another dtype, or values that the wider range alone can hold.
    """
    if array.dtype.kind == "f":
        try:
            with np.errstate(over="raise"):
                return np.array(array, dtype=np.float32, order="C")
        except FloatingPointError:
            raise BadWeightFile(f"{what} has values beyond float32's 3.4e38; rescale the network") from None
    if array.dtype.kind in "biu" and np.can_cast(array.dtype, np.int64):
        return np.array(array, dtype=np.int64, order="C")
    raise BadWeightFile(f"{what} is {array.dtype}; allowed are floats, booleans and integers up to int64")
