"""Lets the tests of this folder import what they share."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


@pytest.fixture(autouse=True)
def _nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test measure by itself."""
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "cache"))
