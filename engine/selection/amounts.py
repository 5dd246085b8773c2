"""Amounts as people write them: `0.5`, `50%`, `60M`."""

import math

from ..errors import AllocationError

_SUFFIXES = {"%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9}


def amount(text: str) -> float:
    """Read a budget: a share of the full network (`0.5`, `50%`) or an absolute count (`60M`, `1.2G`).

    Raises:
        AllocationError: it is neither, or not above zero.
    """
    text = text.strip()
    digits = text[:-1] if text[-1:] in _SUFFIXES else text
    try:
        number = float(digits) * _SUFFIXES.get(text[-1:], 1.0)
    except ValueError:
        number = 0.0
    if number <= 0 or not math.isfinite(number):
        raise AllocationError(f"'{text}' is no budget; write a share like 0.5 or an amount like 60M")
    return number


def perhaps_meant(number: float) -> str:
    """What else a budget out of reach may have been meant to be: percents want their sign."""
    return f"; did you mean {number / 100:g} or {number:g}%?" if 1 < number <= 100 else ""
