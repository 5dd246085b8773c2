"""A disk that fails, and a process that dies, at the n-th thing done to files below a folder."""

import builtins
import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

DIED = 99  # the exit code of a process that died at its fault
UNREACHED = "unreached"  # a file that says that there were fewer calls than that
_CALLS = ("open", "replace", "link", "unlink", "mkdir", "rename", "write", "ftruncate", "fsync")


@contextmanager
def injected(folder: str, *, kind: str = "", at: int = 0, largest: int = 0) -> Iterator[None]:
    """Let something go wrong.

    Args:
        folder: calls that concern other files are not counted.
        kind: `die`, or the name of the error that a call fails with, such as `ENOSPC`; "" for none.
        at: with which call, counted from 1. A write has half of its bytes written by then.
        largest: bytes that a file may have; 0 for any number. What goes beyond fails, as on a full disk.
    """
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if not kind:
        yield
        return
    count = 0

    def reached() -> None:
        nonlocal count
        count += 1
        if count == at:
            if kind == "die":
                os._exit(DIED)
            number = getattr(errno, kind)
            raise OSError(number, os.strerror(number))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(first: Any, *rest: Any, **named: Any) -> Any:
            if isinstance(first, int) or str(os.path.abspath(first)).startswith(folder):
                reached()
            return call(first, *rest, **named)

        return wrapped

    def torn(path: Path, content: Any) -> None:
        """What `write_bytes` and `write_text` of a path do, with a fault in the middle."""
        content = content.encode() if isinstance(content, str) else bytes(content)
        with io.open(path, "wb", buffering=0) as file:  # noqa: UP020, not the wrapped one
            file.write(content[: len(content) // 2])
            reached()
            file.write(content[len(content) // 2 :])

    with ExitStack() as stack:
        for name in _CALLS:
            stack.enter_context(patch.object(os, name, counted(getattr(os, name))))
        stack.enter_context(patch.object(Path, "write_bytes", torn))
        stack.enter_context(patch.object(Path, "write_text", lambda path, text, **_: torn(path, text)))
        stack.enter_context(patch.object(builtins, "open", _opening(builtins.open, folder, reached)))
        yield
    if count < at:
        Path(folder, UNREACHED).write_text(f"{count} calls")


def _opening(call: Callable[..., Any], folder: str, reached: Callable[[], None]) -> Callable[..., Any]:
    """`open`, which is counted where it opens for writing."""

    def wrapped(path: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if set(mode) & set("wax+") and not isinstance(path, int) and os.path.abspath(path).startswith(folder):
            reached()
        return call(path, mode, *rest, **named)

    return wrapped
