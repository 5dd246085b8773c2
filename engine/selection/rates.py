"""Rates as the papers write them, `[0.1]+[0.60]*35+[0.0]*2`, and rates by layer name.

The papers' own parser picks numbers out of whatever it is given: `[0.5] * 3` is one rate to it, `3*[0.5]`
too, and `([0.1]+[0.2])*2` three. Here whatever is not plainly the grammar is an error that says what was
probably meant.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from ...archs.errors import nearest
from ..errors import AllocationError

_TERM = re.compile(r"(?:\[(\d+\.\d*)\]|(\d+\.\d*))(?:\*(\d+))?", re.ASCII)
_MOST_REPEATS = 10_000
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"


def parse_rates(text: str, *, keep: bool = False) -> list[float]:
    """Read a list of rates: terms `[0.6]` or `[0.6]*35`, joined by `+`.

    Args:
        text: the list; spaces are allowed around `+` only.
        keep: the rates are shares kept, in (0, 1], not shares removed, in [0, 1).

    Returns:
        One rate per layer.

    Raises:
        AllocationError: text outside the grammar, or a rate outside its range.
    """
    rates: list[float] = []
    for term in text.split("+"):
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise AllocationError(
                f"rates '{text}': cannot read '{term.strip()}'; {_advice(term.strip(), text)}"
            )
        bracketed, bare, repeat = match.groups()
        times = int(repeat or 1)
        if not 1 <= times <= _MOST_REPEATS:
            raise AllocationError(
                f"rates '{text}': '{term.strip()}' repeats a rate {times} times; once per layer is meant"
            )
        rates += [
            check_rate(float(bracketed or bare), f"rate {len(rates) + 1} of '{text}'", keep=keep)
        ] * times
    return rates


def check_rate(rate: float, what: str, *, keep: bool = False) -> float:
    """The rate itself, if it lies where rates lie.

    Args:
        rate: a share of a layer's filters.
        what: names it in the error.
        keep: a share kept, in (0, 1], not a share removed, in [0, 1).

    Raises:
        AllocationError: it lies elsewhere, or is no number.
    """
    if keep and not 0 < rate <= 1:
        raise AllocationError(f"{what} is {rate:g}; a share that is kept lies above 0 and goes up to 1")
    if not keep and not 0 <= rate < 1:
        raise AllocationError(
            f"{what} is {rate:g}; a share that is removed lies from 0 up to, not including, 1"
        )
    return rate


def parse_layer_rates(assignments: Iterable[str]) -> dict[str, float]:
    """Read rates by layer name: `conv1=0.5`, or with a glob `stage2.*.conv1=0.3`.

    Returns:
        Glob -> share removed, in the order given; of a glob given twice the last.

    Raises:
        AllocationError: not `GLOB=RATE`, or a rate outside [0, 1).
    """
    rates: dict[str, float] = {}
    for assignment in assignments:
        glob, equals, number = (part.strip() for part in assignment.rpartition("="))
        if not (glob and equals) or not re.fullmatch(_NUMBER, number):
            raise AllocationError(
                f"layer rate '{assignment}' is not 'GLOB=RATE', such as 'stage2.*.conv1=0.3'"
            )
        rates.pop(glob, None)
        rates[glob] = check_rate(float(number), f"the rate of '{glob}'")
    return rates


def match_layer_rates(layer_rates: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """Spread rates by glob over layer names; where several globs match, the last one counts.

    Returns:
        Name -> rate, for the names that any glob matches.

    Raises:
        AllocationError: a glob matches nothing.
    """
    matched: dict[str, float] = {}
    names = list(names)
    for glob, rate in layer_rates.items():
        matched |= dict.fromkeys(match_names(glob, names, "layer rate"), rate)
    return matched


def match_names(glob: str, names: Iterable[str], what: str) -> list[str]:
    """The names a glob matches.

    Args:
        glob: with `*`, `?` and `[...]`, matching letter case.
        names: what it may match.
        what: the setting it comes from, for the error.

    Raises:
        AllocationError: it matches none; the message offers the nearest name.
    """
    names = list(names)
    found = [name for name in names if fnmatchcase(name, glob)]
    if not found:
        raise AllocationError(f"{what} '{glob}' matches no layer; {nearest(glob, names)}")
    return found


def _advice(term: str, text: str) -> str:
    """What was probably meant by a term outside the grammar."""
    compact = re.sub(r"\s", "", term)
    if not compact:
        return "write one rate per layer, as in '[0.1]+[0.6]*35'"
    if "(" in text or ")" in text:
        return "parentheses do not group; write every term out, as in '[0.1]+[0.2]+[0.1]+[0.2]'"
    if _TERM.fullmatch(compact):
        return f"write '{compact}', without spaces"
    if turned := re.fullmatch(rf"(\d+)\*(\[?{_NUMBER}\]?)", compact):
        return f"write '{_bracketed(turned[2])}*{turned[1]}'"
    if twice := re.fullmatch(rf"(\[?{_NUMBER}\]?)\*(\d+)\*(\d+)", compact):
        return f"write '{_bracketed(twice[1])}*{int(twice[2]) * int(twice[3])}'"
    if re.fullmatch(rf"\[{_NUMBER}(,{_NUMBER})+\]", compact):
        return "write '" + "+".join(_bracketed(number) for number in compact.strip("[]").split(",")) + "'"
    if alone := re.fullmatch(rf"(\[?{_NUMBER}\]?)(\*\d+)?", compact):
        number = float(alone[1].strip("[]"))
        if number < 0:
            return f"{number:g} is negative, and rates are shares between 0 and 1"
        return f"write '{_bracketed(alone[1])}{alone[2] or ''}'"
    return "write terms such as '[0.6]' or '[0.6]*35', joined by '+'"


def _bracketed(number: str) -> str:
    """A number as the grammar has it: in brackets, with a digit before its decimal point."""
    value = number.strip("[]")
    whole, _, decimals = value.partition(".")
    return f"[{whole or 0}.{decimals or 0}]"
