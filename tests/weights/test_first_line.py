"""Errors of others in one line."""

import pytest
from prune.weights.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
        (OSError(2, "gone"), "[Errno 2] gone"),
    ],
)
def test_an_error_in_one_line(error, line):
    assert first_line(error) == line
