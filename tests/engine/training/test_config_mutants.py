"""Every field of every kind of config.json, replaced by what it cannot be: an error of ours, or none."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prune.archs.errors import ArchError
from prune.engine.errors import EngineError
from prune.engine.jobs.job import Job
from prune.engine.runs.runs import Run
from prune.weights.errors import WeightsError

SETTINGS = json.loads(
    (Path(__file__).parents[2] / "golden" / "frozen" / "settings.json").read_text(encoding="utf-8")
)
ODD = [None, True, -1, 10**30, 1e308, "", "x" * 5000, [], [[]], [None], {}, {"a": 1}, {"": []}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a tree of them."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@pytest.mark.parametrize("kind", SETTINGS)
def test_odd_settings_are_told_or_harmless(tmp_path, kind):
    assert Job.of_run(Run(tmp_path, SETTINGS[kind])).command
    told = 0
    for *outer, last in places(SETTINGS[kind]):
        for odd in ODD:
            config = copy.deepcopy(SETTINGS[kind])
            target = config
            for key in outer:
                target = target[key]
            target[last] = odd
            try:
                Job.of_run(Run(tmp_path, config))
            except (EngineError, ArchError, WeightsError):
                told += 1
    assert told > 200
