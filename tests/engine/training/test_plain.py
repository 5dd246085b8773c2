"""Facts in JSON's own types."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from prune.engine.runs.plain import plain


@dataclass
class Facts:
    path: Path
    numbers: tuple[float, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Facts(Path("a/b"), (1.0, float("nan"))), {"path": "a/b", "numbers": [1.0, None]}),
        ({Path("a"): {1: float("inf")}}, {"a": {"1": None}}),
        ([np.float64("-inf"), np.int64(3), np.arange(2)], [None, 3, [0, 1]]),
        ((frozenset([2]), None, True, "x"), [[2], None, True, "x"]),
    ],
)
def test_facts_survive_json(value, expected):
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected
