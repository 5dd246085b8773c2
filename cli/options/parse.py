"""Values that are more than a number or a word: budgets and lists of epochs, as people type them."""

import typer

from ...engine.errors import AllocationError
from ...engine.selection import amounts


def amount(text: str) -> float:
    """Read a budget: a share of the full network (`0.5`, `50%`) or an absolute count (`60M`, `1.2G`).

    Raises:
        typer.BadParameter: it is neither, or not above zero.
    """
    try:
        return amounts.amount(text)
    except AllocationError as error:
        raise typer.BadParameter(str(error)) from error


def epochs(text: str) -> tuple[int, ...]:
    """Read epochs written as `80,120`.

    Raises:
        typer.BadParameter: something between the commas is not a whole number above zero.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise typer.BadParameter(f"'{text}' is no list of epochs; write them like 80,120")
    return tuple(map(int, words))
