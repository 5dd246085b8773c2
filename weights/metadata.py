"""The JSON text that weight files carry beside their tensors, and what may be in it."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import schema
from .checksums import checksum, checksum_of_text
from .errors import BadWeightFile

FORMAT = 1
_CHECKSUMS = "checksums"
MARK = f'"{_CHECKSUMS}": {{"'.encode()  # is in every file of ours, wherever its metadata lies
_LONGEST_TEXT = 2**23
_LARGEST_BELIEVED = 1024  # pixels a side

_LOOKS = {"shape": schema.listed(schema.integer(0, 2**31)), "kind": schema.text}


def _inputs(value: Any, where: str) -> None:
    """A tree of tensors by their looks, and plain values, as networks are called with them."""
    if isinstance(value, dict):
        held = schema.record(
            {},
            {
                "tensor": schema.record({**_LOOKS, "low": schema.number, "high": schema.number}, {}),
                "list": schema.listed(_inputs),
                "tuple": schema.listed(_inputs),
                "dict": schema.mapping(_inputs),
            },
        )
        held(value, where)
        if len(value) != 1:
            raise schema.WrongValue(f"{where} has {len(value)} keys; it must have one")
    elif value is not None and not isinstance(value, bool | str):
        schema.number(value, where)


_ACCURACY = {"top1": schema.number, "top5": schema.maybe(schema.number), "loss": schema.maybe(schema.number)}
_STEP = {"command": schema.text, "parent": schema.maybe(schema.text)}
_SCHEMA = schema.record(
    required={},
    optional={
        "arch": schema.maybe(schema.text),
        "num_classes": schema.maybe(schema.integer(0, 100_000)),
        "input_size": schema.maybe(schema.listed(schema.integer(1, 100_000))),
        "inputs": schema.maybe(
            schema.record(
                {
                    "args": schema.listed(_inputs),
                    "kwargs": schema.mapping(_inputs),
                    "batch": schema.integer(1, 100_000),
                },
                {},
            )
        ),
        "part": schema.maybe(schema.text),
        "normalization": schema.maybe(
            schema.record({"mean": schema.listed(schema.number), "std": schema.listed(schema.above_zero)}, {})
        ),
        "class_names": schema.maybe(schema.listed(schema.text)),
        "folded": schema.maybe(schema.mapping(schema.text)),
        "plain": schema.maybe(schema.listed(schema.text)),
        "numbers": schema.maybe(schema.mapping(schema.mapping(schema.integer(0, 1_000_000)))),
        "ties": schema.maybe(schema.mapping(schema.text)),
        "accuracy": schema.maybe(
            schema.record({}, {**_ACCURACY, "dataset": schema.maybe(schema.text)}, others=True)
        ),
        _CHECKSUMS: schema.mapping(schema.text),
    },
    others=True,
)
_HISTORY = schema.maybe(schema.listed(schema.record({}, _STEP, others=True)))


def render_meta(meta: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """Return metadata as the JSON text that files carry, and the checksum of this text.

    Args:
        tensors: as they are written, float32 and int64; the text has their checksums.
    Raises:
        BadWeightFile: a value that strict JSON cannot hold (NaN and infinity among them).
    """
    own = {_CHECKSUMS: {name: checksum(array) for name, array in tensors.items()}, "format": FORMAT}
    try:
        text = json.dumps({**schema.tamed(meta), **own}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadWeightFile(
            f"metadata cannot be written as JSON: {error}; use plain finite values"
        ) from error
    return text, checksum_of_text(text)


def parse_meta(
    text: str | None, expected: str | None, where: str
) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Return the metadata in a file's JSON text, and the checksums of its tensors.

    Files of other programs have neither text nor checksums, and those of earlier versions have no checksums.

    Args:
        text: the JSON.
        expected: its checksum.
        where: the file, for the error.
    Raises:
        BadWeightFile: broken JSON, no object, no format version, or a newer one; or not what was written.
    """
    if text is None:
        if expected is not None:
            raise BadWeightFile(f"'{where}' has lost its metadata; copy it again")
        return {}, None
    if expected is not None and checksum_of_text(text) != expected:
        raise BadWeightFile(
            f"the metadata of '{where}' is not what was written: its checksum is {checksum_of_text(text)}, "
            f"not {expected!r}; copy the file again"
        )
    if len(text) > _LONGEST_TEXT:
        raise BadWeightFile(f"the metadata of '{where}' has {len(text)} characters; no network needs as many")
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadWeightFile(f"metadata 'prune' of '{where}' is not JSON: {error}") from error
    if not isinstance(meta, dict):
        raise BadWeightFile(f"metadata 'prune' of '{where}' is a JSON {type(meta).__name__}, not an object")
    version = meta.pop("format", None)
    if type(version) is not int or version < 1:
        raise BadWeightFile(f"metadata 'prune' of '{where}' has format {version!r}; known is {FORMAT}")
    if version > FORMAT:
        raise BadWeightFile(
            f"'{where}' has format {version}, written by a newer prune; this one reads {FORMAT}: upgrade"
        )
    _check(_SCHEMA, meta, "", where)
    said = {name: value for name, value in meta.items() if name != _CHECKSUMS}  # which names tensors
    _check(schema.without_controls, said, "", where)
    checksums = meta.pop(_CHECKSUMS, None)
    if (checksums is None) != (expected is None):
        raise BadWeightFile(f"'{where}' has lost a part of its checksums; copy it again")
    return meta, checksums


def history_of(meta: Mapping[str, Any], where: str) -> tuple[dict[str, Any], ...]:
    """Return the steps by which a network came about, oldest first.

    They are shown whatever they are, and so are checked only where they are gone on with.

    Args:
        where: the file, for the error.
    Raises:
        BadWeightFile: they are no steps.
    """
    steps = meta.get("history")
    _check(_HISTORY, steps, "history", where)
    return tuple(steps or ())


def believed_size(meta: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    """Return the size of images that a file speaks of; nobody is to wait for what it may have made up.

    Args:
        where: the file, for the error.
    Raises:
        BadWeightFile: it is too large to be taken without a word from the user.
    """
    size = meta.get("input_size")
    if size and (max(size) > _LARGEST_BELIEVED or math.prod(size) > 4 * _LARGEST_BELIEVED**2):
        raise BadWeightFile(
            f"'{where}' says that its images are {'x'.join(map(str, size))}; above {_LARGEST_BELIEVED} "
            f"pixels a side that is not taken from a file: give `image_size` {size[-1]} if it is so"
        )
    return tuple(size) if size else None


def _check(kind: schema.Kind, value: Any, place: str, where: str) -> None:
    try:
        kind(value, place)
    except schema.WrongValue as error:
        raise BadWeightFile(f"in the metadata of '{where}', {error}; write the file again") from error
