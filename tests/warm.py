"""Processes that take a moment to begin: forked from one that has imported torch, which takes seconds.

Each is a process of its own, with its process id, streams, folder, environment, signals and end. What is not
tested here is that a command finds by itself all that it imports: some tests start `python` for that.
"""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import IO

place = Path(tempfile.gettempdir(), f"prune-warm-{os.getpid()}")  # where processes of one test run meet
_connected: tuple[socket.socket, subprocess.Popen[bytes] | None] | None = None  # and what was started here


class Process:
    """As `subprocess.Popen` of `python WORDS...` with pipes for all it says, which is text."""

    def __init__(
        self,
        words: Sequence[object],
        folder: str | Path = ".",
        environment: Mapping[str, str] | None = None,
        *,
        fork_workers: bool = False,
        terminal: int | None = None,
    ) -> None:
        """Start it.

        Args:
            words: what would stand behind `python`: `-m module`, `-c code` or a script, and its words; in
                front of that there may be `-W error`.
            folder: its current folder.
            environment: all of its environment; by default that of this process.
            fork_workers: fork the processes of `--nproc`, which are cold otherwise, from this one.
            terminal: an open file that is its stdout, instead of a pipe.
        """
        self.args = [str(word) for word in words]
        request = {
            "words": self.args,
            "folder": str(Path(folder).resolve()),
            "environment": dict(os.environ if environment is None else environment),
            "fork_workers": fork_workers,
        }
        self.returncode: int | None = None
        nothing = os.open(os.devnull, os.O_RDONLY)
        pipes = [os.pipe() for _ in ("stdout", "stderr", "report")]
        theirs = [nothing, *(writing for _, writing in pipes)]
        given = theirs if terminal is None else [nothing, terminal, *theirs[2:]]
        socket.send_fds(_requests(), [json.dumps(request).encode() + b"\n"], given)
        for file in theirs:
            os.close(file)
        self.stdout: IO[str]
        self.stderr: IO[str]
        self.stdout, self.stderr, self._report = (os.fdopen(reading) for reading, _ in pipes)
        self.pid = int(self._report.readline())

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for its end, and hear no more of it."""
        self.wait()
        self.stdout.close()
        self.stderr.close()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended.

        Raises:
            TimeoutExpired: it has not.
        """
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(self._report.readline()))
            self._report.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it says from here on, once it has ended.

        Raises:
            TimeoutExpired: it has not.
        """
        said: dict[IO[str], str] = {}
        streams = (self.stdout, self.stderr)
        readers = [
            threading.Thread(target=lambda stream=stream: said.update({stream: stream.read()}), daemon=True)
            for stream in streams
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        for stream in streams:
            stream.close()
        return said[self.stdout], said[self.stderr]

    def send_signal(self, kind: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, kind)

    def kill(self) -> None:
        """End it for good, if it has not ended."""
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[object],
    folder: str | Path = ".",
    environment: Mapping[str, str] | None = None,
    *,
    fork_workers: bool = False,
    check: bool = False,
    timeout: float = 300,
) -> CompletedProcess[str]:
    """As `subprocess.run` of `python WORDS...`, with all it says.

    Raises:
        CalledProcessError: its exit code is not 0, and this is to be checked.
    """
    process = Process(words, folder, environment, fork_workers=fork_workers)
    try:
        out, err = process.communicate(timeout)
    except TimeoutExpired:
        process.kill()
        raise
    assert process.returncode is not None
    ended = CompletedProcess(process.args, process.returncode, out, err)
    if check:
        assert ended.returncode == 0, err
    return ended


def _requests() -> socket.socket:
    """Where processes are asked for; what answers is started by the first process of a test run that asks."""
    global _connected
    if _connected is None:
        with lock(place):
            server = None if place.exists() else _start()
            requests = socket.socket(socket.AF_UNIX)
            requests.connect(str(place))
        _connected = requests, server
    return _connected[0]


@contextmanager
def lock(place: Path) -> Iterator[None]:
    """Be alone, of all processes of a test run, in asking who serves at `place`."""
    with place.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__).with_name("warm_server.py")), str(place)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()  # it listens
    return server


def close() -> None:
    """Ask for no more; what answers ends with the last who might."""
    global _connected
    if _connected is not None:
        requests, server = _connected
        requests.close()
        if server is not None:
            server.communicate()
        _connected = None
