"""What is said of weight files that are refused."""

from pathlib import Path

import pytest
from prune.weights.errors import BadWeightFile
from prune.weights.formats import read_any


def refusal(path: Path) -> str:
    with pytest.raises(BadWeightFile) as caught:
        read_any(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)
