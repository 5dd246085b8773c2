"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is half done is put in order, one line says so."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_KINDS = (signal.SIGTERM, signal.SIGHUP)  # beside Ctrl-C
_AGAIN = 0.01  # seconds: a destructor is long over by then, and if not, it is tried once more

_received: signal.Signals | None = None
_later: KeyboardInterrupt | None = None  # to be raised with the next SIGALRM


@contextmanager
def heeded() -> Iterator[None]:
    """Turn the first of these signals into a `KeyboardInterrupt`, and pass over those after it.

    One that is ignored stays so, as under nohup. Of several processes the first alone heeds them; the others
    are ended by those who launched them. An interrupt that Python loses, Ctrl-C too, because it meets a
    destructor or a callback of the garbage collector, is raised again; one that meets torch.export waits.
    """
    global _received
    _received = None
    alone = os.environ.get("RANK", "0") == "0" and threading.current_thread() is threading.main_thread()
    usual = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(_KINDS, signal.SIG_DFL)
    kinds = [kind for kind in usual if alone and signal.getsignal(kind) is usual[kind]]
    for kind in kinds:
        signal.signal(kind, _interrupt)
    with _none_lost(alone):
        try:
            yield
        finally:
            for kind in kinds:
                signal.signal(kind, usual[kind])


@contextmanager
def _none_lost(alone: bool) -> Iterator[None]:
    """Raise an interrupt that nothing could catch once more, a moment later."""
    global _later
    if not alone or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return
    tell = sys.unraisablehook

    def remember(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _raise_later(KeyboardInterrupt(*unraisable.exc_value.args))
        else:
            tell(unraisable)

    signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = remember
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _later = None
        sys.unraisablehook = tell
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def exit_code() -> int:
    """What a command returns that was interrupted: 128 and the number of the signal."""
    return 128 + (_received or signal.SIGINT)


def raise_soon(interrupt: KeyboardInterrupt, frame: FrameType | None) -> None:
    """Raise it, in a signal's handler; once torch.export is done where that is at work.

    Torch's C++ code aborts (`terminate called`) where an exception passes it while its modes change.
    """
    if signal.getsignal(signal.SIGALRM) is _again and _exports(frame):
        _raise_later(interrupt)
    else:
        raise interrupt


def _raise_later(interrupt: KeyboardInterrupt) -> None:
    global _later
    _later = interrupt
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)


def _again(_: int, frame: FrameType | None) -> None:
    global _later
    if _later is not None:
        interrupt, _later = _later, None
        raise_soon(interrupt, frame)


def _exports(frame: FrameType | None) -> bool:
    """Is torch.export among the callers of what runs in a frame?"""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == "torch.export" or name.startswith("torch.export."):
            return True
        frame = frame.f_back
    return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    if number == signal.SIGINT:
        raise_soon(KeyboardInterrupt(), frame)
        return
    for kind in _KINDS:
        signal.signal(kind, signal.SIG_IGN)
    _received = signal.Signals(number)
    raise_soon(KeyboardInterrupt(f"ended by {_received.name}"), frame)
