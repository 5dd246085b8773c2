"""Runs what `python` would run, in processes forked from this one, which has imported torch: see `warm`.

It serves all processes of a test run. A request is a line of JSON with four open files: stdin, stdout and
stderr of the new process, and where its process id is written at once, and how it ended, as `os.waitpid`
says it, once it has.
"""

import atexit
import importlib
import io
import json
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, cast

from warm import lock

OWN_PATH = sys.path[1:]  # without the folder of this file


def serve(place: Path) -> None:
    """Answer all who connect to a socket at `place`, until none of them is left."""
    _import_all()
    children = _Children()
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as waiting:
        listening.bind(str(place))
        listening.listen()
        listening.setblocking(False)
        for file in (listening, children.ended):
            waiting.register(file, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is listening:
                    waiting.register(listening.accept()[0], selectors.EVENT_READ)
                elif key.fileobj is children.ended:
                    children.report()
                elif request := _received(cast(socket.socket, key.fileobj)):
                    if children.fork(*request):
                        for open_here in [*waiting.get_map().values()]:
                            cast(socket.socket, open_here.fileobj).close()
                        waiting.close()
                        _become(*request)
                else:
                    waiting.unregister(key.fileobj)
                    cast(socket.socket, key.fileobj).close()
                    if len(waiting.get_map()) == 2 and _nobody_comes(place, listening, waiting):
                        return


def _received(asking: socket.socket) -> tuple[dict, list[int]] | None:
    """What is asked for, and its files; None where nobody will ask any more."""
    asking.setblocking(True)
    message, files, _, _ = socket.recv_fds(asking, 1 << 16, 4)
    while message and not message.endswith(b"\n"):
        message += asking.recv(1 << 16)
    return (json.loads(message), files) if message else None


def _nobody_comes(place: Path, listening: socket.socket, waiting: selectors.BaseSelector) -> bool:
    """Has nobody connected meanwhile? Then nobody can any more."""
    with lock(place):
        try:
            waiting.register(listening.accept()[0], selectors.EVENT_READ)
        except BlockingIOError:
            place.unlink()
            return True
    return False


class _Children:
    """The processes that were asked for, until it is reported how they ended."""

    def __init__(self) -> None:
        self._reports: dict[int, int] = {}  # by process id, where that is to be written
        self.ended, self._woken = socket.socketpair()
        for end in (self.ended, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def fork(self, request: dict, files: list[int]) -> bool:
        """Start one; in the process itself this is true."""
        *streams, report = files
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._woken.close()
            for file in (report, *self._reports.values()):
                os.close(file)
            return True
        for stream in streams:
            os.close(stream)
        os.write(report, b"%d\n" % pid)
        self._reports[pid] = report
        return False

    def report(self) -> None:
        """Say of all that have ended how they did."""
        self.ended.recv(1 << 16)
        with suppress(ChildProcessError):  # none is left
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                report = self._reports.pop(pid)
                with suppress(BrokenPipeError):  # nobody wants to know
                    os.write(report, b"%d\n" % status)
                os.close(report)


def _import_all() -> None:
    """All that commands need; no backward pass, after which no child could have one."""
    from prune.cli.main import main

    for module in ("jobs.prepare", "jobs.run", "jobs.gentle", "conversion", "data.memory"):
        importlib.import_module(f"prune.engine.{module}")
    unheard = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(unheard), redirect_stderr(unheard):
        words = "rank --arch lenet5 --criterion l1 --quiet --json --out"
        assert main([*words.split(), f"{folder}/scores.hdf5"]) == 0


def _become(request: dict, files: list[int]) -> NoReturn:
    """Be the process that was asked for, from its first line to its end."""
    words, folder, environment = request["words"], request["folder"], request["environment"]
    for number, stream in enumerate(files[:3]):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ |= environment
    multiprocessing.process.ORIGINAL_DIR = folder  # what workers begin with
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    if words[0] == "-W":
        sys.warnoptions[:] = [words[1]]
        warnings.resetwarnings()
        warnings.simplefilter(words[1])  # pyright: ignore[reportArgumentType]
        words = words[2:]
    if request["fork_workers"]:
        multiprocessing.get_context = partial(_forking, multiprocessing.get_context)
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        os.register_at_fork(after_in_child=_as_if_spawned)
    _end_as_python_does(_program(words, folder))


def _forking(get_context: Callable, method: str) -> multiprocessing.context.BaseContext:
    assert method == "spawn"
    return get_context("fork")


def _as_if_spawned() -> None:
    """Heed no signal otherwise than Python does; what is ignored stays so."""
    for kind in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        if signal.getsignal(kind) is not signal.SIG_IGN:
            signal.signal(kind, signal.SIG_DFL)
    sys.unraisablehook = sys.__unraisablehook__


def _program(words: list[str], folder: str) -> Callable[[], object]:
    """What `python` does with these words, and `sys.argv` and `sys.path` as it would set them."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = list(dict.fromkeys([*filter(None, named), *OWN_PATH]))
    safe = "PYTHONSAFEPATH" in os.environ
    match words:
        case ["-m", module, *rest]:
            first, argv = folder, [module, *rest]
            run = partial(runpy.run_module, module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            first, argv = "", ["-c", *rest]
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            run = partial(exec, compile(code, "<string>", "exec"), vars(main))
        case [script, *rest]:
            first, argv = str((Path(folder) / script).parent), [script, *rest]
            run = partial(runpy.run_path, script, run_name="__main__")
        case _:
            raise ValueError(words)
    sys.path[:0] = [] if safe else [first]
    sys.argv[:] = argv
    return run


def _end_as_python_does(run: Callable[[], object]) -> NoReturn:
    interrupted, code = False, 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        interrupted, code = isinstance(error, KeyboardInterrupt), 1
        traceback.print_exc()
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)  # without taking apart what it never used
