"""Numbers as papers print them, and whether an exact number would be printed that way.

Tables round or cut off, without saying which, and print percentages of the rounded numbers as well as of the
exact ones.
"""

import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from ..errors import RecipeError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def read_amount(printed: str) -> tuple[Decimal, Decimal]:
    """Read `62.72M`, `0.45B` or `1.87E7`.

    Returns:
        The value, and what one more in its last digit would add.

    Raises:
        RecipeError: it is none of these.
    """
    match = re.fullmatch(r"(\d+)(\.\d+)?(?:E(\d+)|([KMB]?))", printed)
    if match is None:
        raise RecipeError(f"'{printed}' is no printed amount; write it like 62.72M or 1.87E7")
    whole, decimals, exponent, unit = match.groups()
    scale = Decimal(10) ** int(exponent) if exponent else Decimal(_UNITS[unit])
    step = Decimal(10) ** -len((decimals or ".")[1:])
    return Decimal(whole + (decimals or "")) * scale, step * scale


def read_percent(printed: str) -> tuple[Decimal, Decimal]:
    """Read `52.6%`: the value and what one more in its last digit would add, both in percent.

    Raises:
        RecipeError: it is no percentage.
    """
    if not re.fullmatch(r"\d+(\.\d+)?%", printed):
        raise RecipeError(f"'{printed}' is no printed percentage; write it like 52.6%")
    return read_amount(printed.rstrip("%"))


def prints_amount(exact: int, printed: str) -> bool:
    """Would `exact` be printed so, rounded or cut off?"""
    return _prints(Decimal(exact), *read_amount(printed))


def prints_drop(after: int, before: int, printed: str, printed_after: str = "") -> bool:
    """Would the drop from `before` to `after` be printed so?

    Args:
        after: the exact number of the narrow network.
        before: that of the full network.
        printed: the percentage.
        printed_after: `after` as printed: the percentage may be that of the rounded numbers.
    """
    value, step = read_percent(printed)
    if _prints(_drop(Decimal(after), Decimal(before)), value, step):
        return True
    if not printed_after or not prints_amount(after, printed_after):
        return False
    rounded, unit = read_amount(printed_after)
    return any(
        _prints(_drop(rounded, (Decimal(before) / unit).quantize(Decimal(1), rounding) * unit), value, step)
        for rounding in (ROUND_HALF_UP, ROUND_DOWN)
    )


def _drop(after: Decimal, before: Decimal) -> Decimal:
    return 100 * (1 - after / before)


def _prints(exact: Decimal, value: Decimal, step: Decimal) -> bool:
    steps = exact / step
    return value / step in {steps.quantize(Decimal(1), rounding) for rounding in (ROUND_HALF_UP, ROUND_DOWN)}
