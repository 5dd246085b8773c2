"""Runs what `python` would run, in processes forked from this one, which has imported torch: see `warm`.

A request is a line of JSON with four open files: stdin, stdout and stderr of the new process, and where
its process id is written at once, and how it ended, as `os.waitpid` says it, once it has.
"""

import atexit
import importlib
import io
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

OWN_PATH = sys.path[1:]  # without the folder of this file


def serve(requests: socket.socket) -> None:
    """Answer until nobody can ask any more."""
    _import_all()
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1 << 16, 4)
        with suppress(ChildProcessError):  # of those below, which only wait, none is left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return
        while not message.endswith(b"\n"):
            message += requests.recv(1 << 16)
        if os.fork() == 0:
            requests.close()
            _see_through(json.loads(message), files)
        for file in files:
            os.close(file)


def _import_all() -> None:
    """All that commands need; no backward pass, after which no child could have one."""
    from prune.cli.main import main

    for module in ("jobs.prepare", "jobs.run", "jobs.gentle", "conversion", "data.memory"):
        importlib.import_module(f"prune.engine.{module}")
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        words = "rank --arch lenet5 --criterion l1 --quiet --json --out"
        assert main([*words.split(), f"{folder}/scores.hdf5"]) == 0


def _see_through(request: dict, files: list[int]) -> NoReturn:
    """Start the process and tell how it ends."""
    *streams, report = files
    pid = os.fork()
    if pid == 0:
        os.close(report)
        _become(streams, **request)
    for stream in streams:
        os.close(stream)
    os.write(report, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(report, b"%d\n" % status)
    os._exit(0)


def _become(
    streams: list[int], words: list[str], folder: str, environment: dict[str, str], fork_workers: bool
) -> NoReturn:
    """Be the process that was asked for, from its first line to its end."""
    for number, stream in enumerate(streams):
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
    if fork_workers:
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
    serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)  # without taking apart what it never used
