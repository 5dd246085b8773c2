"""What was measured stays measured: sensitivities in the cache folder, so that what was cut short goes on.

A file per question (this network, these images, this seed, this code); a line per group, with a checksum, so
that a line that was being written when the power went is one that is measured again.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import algebra
from ..data.decode_cache import cache_folder
from ..graph.channels import Group
from ..modules.inputs import given_tensors
from ..processes import distributed
from .program import Program
from .sensitivity import Sensitivity
from .streams import Batch

KEPT = 64  # files: answers to the questions that were asked last


class Remembered:
    """What is known already of one network on certain images, and what is added to it."""

    def __init__(self, program: Program, batches: Sequence[Batch], seed: int, measure: bool):
        """Look for earlier answers to the same question; several processes know what the first one does."""
        asked = _question(program, batches, seed, measure)
        self._path = cache_folder() / "sensitivities" / f"{asked}.jsonl"
        with suppress(OSError):
            os.utime(self._path)
        self._found: dict[str, Sensitivity] = distributed.from_first(lambda: dict(_lines(self._path)))

    def of(self, group: Group) -> Sensitivity | None:
        """What its channels cost, if that is known."""
        found = self._found.get(_key(group))
        return found if found is None or set(found.order) <= set(group.channels.tolist()) else None

    def keep(self, group: Group, found: Sensitivity) -> None:
        """Write it down; where that is not possible, it is measured again next time."""
        if not distributed.is_first():
            return
        text = json.dumps({"key": _key(group), **asdict(found)})
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                _make_room(self._path.parent)
            with self._path.open("a", encoding="ascii") as file:
                # A line of its own, also behind one that somebody could not finish.
                file.write(f"\n{zlib.crc32(text.encode()):08x} {text}\n")


def _make_room(folder: Path) -> None:
    """Remove what was not asked for longest, so that one more file is no file too many."""
    by_age = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in by_age[: max(0, len(by_age) - KEPT + 1)]:
        path.unlink()


def _lines(path: Path) -> Iterator[tuple[str, Sensitivity]]:
    """What a file holds, by group; lines that are not whole are left out."""
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            checksum, _, text = line.partition(b" ")
            if checksum == b"%08x" % zlib.crc32(text):
                found: dict[str, Any] = json.loads(text)
                measured = {int(gone): loss for gone, loss in found["measured"].items()}
                order, errors = tuple(found["order"]), tuple(found["errors"])
                yield found["key"], Sensitivity(found["group"], order, errors, measured)


def _key(group: Group) -> str:
    """A group, and which of its channels may leave."""
    channels = hashlib.sha256(group.channels.tobytes() + group.free.tobytes())
    return f"{group.name} {channels.hexdigest()[:16]}"


def _question(program: Program, batches: Sequence[Batch], seed: int, measure: bool) -> str:
    """SHA-256 of all that the answer follows from."""
    asked = hashlib.sha256(f"{torch.__version__} {seed} {measure} {distributed.processes()}".encode())
    for folder in (Path(__file__).parent, Path(algebra.__file__).parent):
        for path in sorted(folder.glob("*.py")):
            asked.update(path.read_bytes())
    asked.update(program.text.encode())
    given = [tensor for batch in batches for tensor in given_tensors(batch)]
    for tensor in (*program.sources.values(), *given):
        own = tensor.detach()
        asked.update(f"{own.device.type} {own.dtype} {tuple(own.shape)}".encode())
        asked.update(own.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return asked.hexdigest()
