"""Damage of every kind: to bytes, and to what a JSON text says."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

_ODD = [None, True, -1, 0, 10**30, 1e308, "", "x" * 5000, "\x1b[2J\u202e", [], [[]], [None], {}, {"a": 1}]


def mutant(content: bytes, draw: random.Random) -> bytes:
    """A copy with bits flipped, bytes and words replaced, or pieces moved; some are cut."""
    damaged = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        near = min(len(damaged), 3000)  # where files say what is in them
        place = draw.randrange(len(damaged) if draw.random() < 0.6 else near)
        match draw.randrange(4):
            case 0:
                damaged[place] ^= 1 << draw.randrange(8)
            case 1:
                damaged[place] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
            case 2:
                word = draw.choice([0, 2**64 - 1, 2**32 - 1, 2**31, len(damaged), place])
                damaged[place : place + 8] = word.to_bytes(8, "little")
            case 3:
                source, length = draw.randrange(len(damaged)), draw.randrange(1, 200)
                damaged[place : place + length] = damaged[source : source + length]
    return bytes(damaged[: draw.randrange(len(damaged))] if draw.random() < 0.1 else damaged)


def json_mutant(content: bytes, draw: random.Random) -> bytes:
    """A copy with some values replaced by odd ones, moved, nested or renamed; at times, bytes as above."""
    if draw.random() < 0.3:
        return mutant(content, draw)
    root = [json.loads(content)]
    for _ in range(draw.choice([1, 1, 1, 3])):
        places = list(_places(root))
        outer, key = draw.choice(places)
        match draw.randrange(5):
            case 0 | 1:
                outer[key] = copy.deepcopy(draw.choice(_ODD))
            case 2:
                other, its_key = draw.choice(places)
                outer[key] = copy.deepcopy(other[its_key])
            case 3:
                outer[key] = _nested(outer[key], draw.choice([1, 5, 50]))
            case 4 if isinstance(outer, dict):
                outer[draw.choice(["", "format", key + "x"])] = outer.pop(key)
            case _:
                outer[key] = outer[key] * 3 if isinstance(outer[key], (list, str)) else -1
    text = json.dumps(root[0])
    if draw.random() < 0.02:  # deeper than any reader's stack
        text = text.replace("1", "[" * 100_000 + "1" + "]" * 100_000, 1)
    return text.encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a tree, with every one of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value
