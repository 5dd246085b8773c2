"""One process at a time in a run's folder: a lock that the system itself lifts when its holder ends."""

import fcntl
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from ..errors import TrainingError

NAME = ".lock"
PATIENCE = 10.0  # seconds: the processes that decode images end a little later than the one they do it for

_held: dict[Path, int] = {}  # folder -> descriptor; the lock lasts as long as it is open


def hold(folder: Path) -> None:
    """Hold a folder until this process ends, or `let_go`; a second time is as good as once.

    The file of the lock says who holds it. One that a killed process has left is nobody's and is taken over.
    Where the file system knows no locks there is none.

    Raises:
        TrainingError: another process holds it.
    """
    key, deadline = Path(os.path.realpath(folder)), time.monotonic() + PATIENCE
    while key not in _held:
        descriptor = os.open(key / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            if _has_ended(holder) and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise TrainingError(
                f"{folder} is in use by {holder}; wait until it ends, or choose another folder"
            ) from None
        except OSError:  # no locks here
            os.close(descriptor)
            return
        if not _is_there(descriptor, key / NAME):  # its last holder has just let go
            os.close(descriptor)
            continue
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        _held[key] = descriptor


def let_go(folder: Path) -> None:
    """Leave a folder to others."""
    key = Path(os.path.realpath(folder))
    descriptor = _held.pop(key, None)
    if descriptor is not None:
        with suppress(OSError):
            os.unlink(key / NAME)
        os.close(descriptor)


def _has_ended(holder: str) -> bool:
    """Has the process of this machine ended that a lock names? Its own processes may outlive it a little."""
    named = re.fullmatch(r"process (\d+) on (.+)", holder)
    if named is None or named[2] != socket.gethostname():
        return False
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
