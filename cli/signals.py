"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is half done is put in order, one line says so."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_KINDS = (signal.SIGTERM, signal.SIGHUP)
_AGAIN = 0.01  # seconds: a destructor is long over by then, and if not, it is tried once more

_received: signal.Signals | None = None


@contextmanager
def heeded() -> Iterator[None]:
    """Turn the first of these signals into a `KeyboardInterrupt`, and pass over those after it.

    One that is ignored stays so, as under nohup. Of several processes the first alone heeds them; the others
    are ended by those who launched them. An interrupt that Python loses, Ctrl-C too, because it meets a
    destructor or a callback of the garbage collector, is raised again.
    """
    global _received
    _received = None
    alone = os.environ.get("RANK", "0") == "0" and threading.current_thread() is threading.main_thread()
    kinds = [kind for kind in _KINDS if alone and signal.getsignal(kind) is signal.SIG_DFL]
    for kind in kinds:
        signal.signal(kind, _interrupt)
    with _none_lost(alone):
        try:
            yield
        finally:
            for kind in kinds:
                signal.signal(kind, signal.SIG_DFL)


@contextmanager
def _none_lost(alone: bool) -> Iterator[None]:
    """Raise an interrupt that nothing could catch once more, a moment later."""
    if not alone or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return
    tell, lost = sys.unraisablehook, KeyboardInterrupt()

    def remember(unraisable: "sys.UnraisableHookArgs") -> None:
        nonlocal lost
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            lost = KeyboardInterrupt(*unraisable.exc_value.args)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            tell(unraisable)

    def again(_: int, __: FrameType | None) -> None:
        raise lost

    signal.signal(signal.SIGALRM, again)
    sys.unraisablehook = remember
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = tell
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def exit_code() -> int:
    """What a command returns that was interrupted: 128 and the number of the signal."""
    return 128 + (_received or signal.SIGINT)


def _interrupt(number: int, _: FrameType | None) -> None:
    global _received
    for kind in _KINDS:
        signal.signal(kind, signal.SIG_IGN)
    _received = signal.Signals(number)
    raise KeyboardInterrupt(f"ended by {_received.name}")
