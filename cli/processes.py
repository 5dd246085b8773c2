"""`--nproc N`: one command line in N processes of this machine, which end together whatever ends one.

The processes are set up as torchrun sets up its own, so that a command need not know who started it. Whoever
fails first says why; the launching process speaks for those that could not.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from . import signals

if TYPE_CHECKING:
    import torch
    from torch.distributed.distributed_c10d import Store

Run = Callable[[Sequence[str]], int]

GRACE = 10.0  # seconds to finish what is being written, once another process has failed
STANDSTILL = 120  # seconds that one process may be stopped while this one is not


def launch(run: Run, words: Sequence[str], count: int) -> int:
    """Run a command line in `count` processes.

    Args:
        run: runs the words of a command line and returns its exit code; new processes must be able to
            import it.
        words: the command line.
        count: how many processes.
    Returns:
        The exit code of the first process that failed, which has said why; else 0.

    Raises:
        ProcessError: a process was killed, or was stopped and not continued.
        KeyboardInterrupt: Ctrl-C, before the first process could say how far it is.
    """
    from ..engine.processes import distributed

    store = distributed.keep_store()
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_work, args=(run, list(words), n, count, store.port)) for n in range(count)
    ]
    try:
        # The processes started here ignore it as well, until they are ready for it.
        with _ctrl_c_ignored(), _safe_path():
            for worker in workers:
                worker.start()
        return _see_through(workers, store)
    except KeyboardInterrupt:
        return _interrupt(workers[0], store)
    finally:
        _end(workers, store)


def _see_through(workers: list[SpawnProcess], store: "Store") -> int:
    running = list(workers)
    seconds_stopped = [0] * len(workers)
    while running and not any(worker.exitcode for worker in workers):
        # In turns of a second, not by the clock: what stops this process too, as Ctrl-Z does, does not count.
        wait([worker.sentinel for worker in running], timeout=1)
        running = [worker for worker in running if worker.exitcode is None]
        for number, worker in enumerate(workers):
            seconds_stopped[number] = seconds_stopped[number] + 1 if _is_stopped(worker) else 0
            if seconds_stopped[number] > STANDSTILL:
                raise _stopped(number, len(workers), store)
    for number, worker in enumerate(workers):
        if (worker.exitcode or 0) < 0:
            raise _killed(number, len(workers), worker, store)
    return next((worker.exitcode for worker in workers if worker.exitcode), 0)


def _killed(number: int, count: int, worker: SpawnProcess, store: "Store") -> Exception:
    from ..engine.errors import ProcessError

    name = signal.Signals(-(worker.exitcode or 0)).name
    return ProcessError(f"process {number + 1} of {count} was killed by {name}{_way_back(store)}")


def _is_stopped(worker: SpawnProcess) -> bool:
    """Has it got SIGSTOP, and no SIGCONT since? Where the system does not tell, it has not."""
    if worker.exitcode is not None or worker.pid is None or not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it has ended since
        return False


def _stopped(number: int, count: int, store: "Store") -> Exception:
    from ..engine.errors import ProcessError

    stopped = f"process {number + 1} of {count} has been stopped (SIGSTOP) for {STANDSTILL} seconds"
    return ProcessError(f"{stopped}{_way_back(store)}")


def _interrupt(first: SpawnProcess, store: "Store") -> int:
    """Let the first process say how far it is: the key may have reached it too, or this process alone.

    It is told until it hears, and heeds it once.
    """
    deadline = time.monotonic() + GRACE
    while first.exitcode is None and time.monotonic() < deadline:
        assert first.pid is not None
        os.kill(first.pid, signal.SIGINT)
        first.join(0.5)
    if first.exitcode is None:
        raise KeyboardInterrupt(f"interrupted{_way_back(store)}")
    return first.exitcode


def _way_back(store: "Store") -> str:
    from ..engine.processes.distributed import WAY_BACK

    return f"; {store.get(WAY_BACK).decode()}" if store.check([WAY_BACK]) else ""


def _end(workers: list[SpawnProcess], store: "Store") -> None:
    """Leave no process behind. The first may finish what it writes, and one of them what it has to say."""
    from ..engine.processes.distributed import SPEAKER

    speaker = int(store.get(SPEAKER)) if store.check([SPEAKER]) else 0
    with _ctrl_c_ignored():
        for number, worker in enumerate(workers):
            if worker.pid is not None:
                worker.join(GRACE if number in (0, speaker) else 0)
                worker.kill()
                worker.join()


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Start Python without the current folder among the places of modules: it may hold a `threading.py`.

    Own networks are found there all the same, since they are looked for on purpose.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def is_first() -> bool:
    """Is this the process that shows progress and results? The environment says so, and costs no torch."""
    return os.environ.get("RANK", "0") == "0"


def speaks(error: BaseException) -> bool:
    """Is it for this process to say what went wrong? For the first that fails; the others follow from it.

    The loss of a process is for the one that launched it to report, which knows how it ended.
    """
    if "RANK" not in os.environ:
        return True
    from ..engine.errors import ProcessError
    from ..engine.processes.distributed import LAUNCHER, may_speak

    return not (isinstance(error, ProcessError) and LAUNCHER in os.environ) and may_speak()


def leave_together() -> None:
    """Leave the other processes, if there are any, when all of them are done."""
    if "RANK" in os.environ:
        from ..engine.processes.distributed import leave

        leave()


def take_part(device: str, threads: int | None) -> "torch.device":
    """Join the processes this one was started with, if any, and leave stdout and Ctrl-C to the first of them.

    Without `threads`, the processes of a machine share its cores.
    """
    import torch

    from ..engine.freed import keep
    from ..engine.processes import distributed

    keep()
    if distributed.launched():
        signal.signal(signal.SIGINT, _interrupt_once if is_first() else signal.SIG_IGN)
        warnings.showwarning = _warn_once
        if not is_first():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if threads is None and distributed.launched() and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if threads:
        torch.set_num_threads(threads)
    return distributed.join(device)


def _interrupt_once(_: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.raise_soon(KeyboardInterrupt(), frame)


def _warn_once(message: Warning | str, *_: object) -> None:
    """Python's own warnings: each from the process that is the first to have it."""
    from ..engine.processes.distributed import claim

    if claim(f"warn: {message}"):
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def end(code: int) -> NoReturn:
    """End this process; as one of several, without taking the interpreter apart.

    PyTorch's threads may wait or crash meanwhile, and turn a job that went well into one that failed.
    """
    if "RANK" not in os.environ:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _work(run: Run, words: list[str], number: int, count: int, port: int) -> None:
    """One process: run the command line as torchrun would."""
    from ..engine.processes.distributed import LAUNCHER

    threading.Thread(target=_end_with_launcher, args=(number,), daemon=True).start()
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        LAUNCHER: str(port),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # or else a store that is gone is told with a stack of C++ frames
    }
    end(run(words))


def _end_with_launcher(number: int) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL if number else signal.SIGINT)
