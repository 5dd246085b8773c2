"""Values in JSON's own types; costs no torch."""

import dataclasses
import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same facts as JSON can hold them: paths become text, and numbers that are not finite null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
