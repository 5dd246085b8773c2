"""Arrays that were recorded elsewhere."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def arrays(path: Path) -> dict[str, NDArray]:
    """All arrays of an `.npz`, which is closed again."""
    with np.load(path) as file:
        return dict(file)
