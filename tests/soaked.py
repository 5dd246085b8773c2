"""Which cases of a test are in `make soak` alone."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def often(cases: Iterable[Any], *, but: Container[Any]) -> list[Any]:
    """The cases of a parametrized test, of which those of `but` are in `make soak` alone."""
    return [pytest.param(case, marks=pytest.mark.soak) if case in but else case for case in cases]
