"""Which cases of a test are in `make soak` alone."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def often(cases: Iterable[Any], *, but: Container[Any]) -> list[Any]:
    """The cases of a parametrized test, of which those of `but` are in `make soak` alone.

    Where a test has several parameters, a case is a tuple of them.
    """
    return [_in_soak(case) if case in but else case for case in cases]


def _in_soak(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.soak)
