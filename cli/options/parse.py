"""Values that are more than a number or a word: budgets and lists of epochs, as people type them."""

import math

import typer

_SUFFIXES = {"%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9}


def amount(text: str) -> float:
    """Read a budget: a share of the full network (`0.5`, `50%`) or an absolute count (`60M`, `1.2G`).

    Raises:
        typer.BadParameter: it is neither, or not above zero.
    """
    digits = text[:-1] if text[-1:] in _SUFFIXES else text
    try:
        number = float(digits) * _SUFFIXES.get(text[-1:], 1.0)
    except ValueError:
        number = 0.0
    if number <= 0 or not math.isfinite(number):
        raise typer.BadParameter(f"'{text}' is no budget; write a share like 0.5 or an amount like 60M")
    return number


def epochs(text: str) -> tuple[int, ...]:
    """Read epochs written as `80,120`.

    Raises:
        typer.BadParameter: something between the commas is not a whole number above zero.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise typer.BadParameter(f"'{text}' is no list of epochs; write them like 80,120")
    return tuple(map(int, words))
