"""Budgets as people write them."""

import pytest
from prune.engine.errors import AllocationError
from prune.engine.selection.amounts import amount, perhaps_meant


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.5", 0.5), (" 50% ", 0.5), ("3k", 3e3), ("60M", 60e6), ("1.2G", 1.2e9), ("7", 7.0), ("1", 1.0)],
)
def test_a_share_or_a_count(text: str, number: float):
    assert amount(text) == number


@pytest.mark.parametrize(
    "text", ["", "%", "0", "0M", "-1", "-5%", "nan", "inf", "infM", "60MM", "M60", "60m"]
)
def test_what_is_no_budget_is_named(text: str):
    with pytest.raises(AllocationError, match=f"^'{text}' is no budget; write a share like 0.5"):
        amount(text)


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        (50, "; did you mean 0.5 or 50%?"),
        (100, "; did you mean 1 or 100%?"),
        (1.5, "; did you mean 0.015 or 1.5%?"),
        (1, ""),
        (100.5, ""),
        (float("inf"), ""),
    ],
)
def test_what_may_have_been_a_percentage(number: float, meant: str):
    assert perhaps_meant(number) == meant
