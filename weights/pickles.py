"""A pickle's plain values, without unpickling: an interpreter that knows no name and calls nothing.

A pickle is a program for a small machine. This one builds Python's own values (numbers, texts, lists);
where the program names a function or a class, it puts a `Named` in its place, and where it calls one, what
the caller's `call` makes of that. So nothing is imported or run, and nothing is larger than the pickle.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

MOST_STEPS = 500_000  # of the program; a network of 5000 tensors takes 300,000

# What a broken program raises, among it what Python warns of (odd escapes), where warnings are errors.
_BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, DeprecationWarning)
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list}


class BadPickle(Exception):
    """A program that no plain values come of; says why."""


@dataclass(frozen=True)
class Named:
    """What a pickle calls by name: a module's function or class."""

    name: str


def plain_values(
    file: BinaryIO, call: Callable[[str, tuple[Any, ...]], Any], stored: Callable[[Any], Any]
) -> Any:
    """Run a pickle's program, and return what it builds; the file then stands behind it.

    Args:
        call: given a name and arguments, returns what stands for the result.
        stored: given what a pickle says of something kept outside of it, returns what stands for that.
    Raises:
        BadPickle: it is broken, longer than any checkpoint's, or uses what plain values do not need.
    """
    machine = _Machine(call, stored)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > MOST_STEPS:
                raise BadPickle(f"its pickle has more than {MOST_STEPS} steps")
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except _BROKEN as error:
        raise BadPickle(f"its pickle is broken: {error or type(error).__name__}") from error


class _Machine:
    def __init__(self, call: Callable[[str, tuple[Any, ...]], Any], stored: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.call, self.stored = call, stored
        self.given = 0

    def step(self, name: str, argument: Any) -> None:
        stack, memo = self.stack, self.memo
        if name in _LITERALS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "EMPTY_TUPLE":
            stack.append(())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(reversed([stack.pop() for _ in range(int(name[-1]))])))
        elif name in ("TUPLE", "LIST", "DICT"):
            items = self._since_mark()
            stack.append(tuple(items) if name == "TUPLE" else items if name == "LIST" else pairs(items))
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS"):
            self._add(name)
        elif name == "GLOBAL":
            stack.append(Named(argument.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            if not (isinstance(module, str) and isinstance(last, str)):
                raise BadPickle("its pickle names what is no text")
            stack.append(Named(f"{module}.{last}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self.call(_name(function), self._counted(tuple(arguments))))
        elif name == "BUILD":
            stack.pop()  # attributes of an object, of which only its items matter here
        elif name == "BINPERSID":
            stack.append(self.stored(stack.pop()))
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._since_mark()
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise BadPickle(f"its pickle uses {name}, which plain values do not need")

    def _counted(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments of a call, which goes through them: one long list may be given to any number of calls."""
        self.given += sum(len(given) for given in arguments if isinstance(given, list | tuple | dict))
        if self.given > MOST_STEPS:
            raise BadPickle(f"its pickle gives functions more than {MOST_STEPS} values")
        return arguments

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise BadPickle("its pickle is broken: there is no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _add(self, name: str) -> None:
        """Put items into the list or the dictionary beneath them."""
        many = name.endswith("S")
        count = 2 if name == "SETITEM" else 1
        items = self._since_mark() if many else [self.stack.pop() for _ in range(count)][::-1]
        target = self.stack[-1]
        if name.startswith("SETITEM"):
            if isinstance(target, dict):
                target.update(pairs(items))
        elif isinstance(target, list):
            target.extend(items)


def pairs(items: list[Any]) -> dict[Any, Any]:
    """A dictionary of keys and values that follow each other.

    Raises:
        BadPickle: a key is neither a text nor a number: a nested one may take for ever to compare.
    """
    if not all(key is None or isinstance(key, str | bytes | int | float) for key in items[::2]):
        raise BadPickle("its pickle has a key that is no text and no number")
    return dict(zip(items[::2], items[1::2], strict=True))


def _name(function: Any) -> str:
    if not isinstance(function, Named):
        raise BadPickle("its pickle calls what is no function")
    return function.name
