"""A warm process is to its caller what `python` is: what it is told, what it says, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm

PROGRAMS = {
    "what it is told": "import os, sys; print(sys.argv, os.getcwd(), sys.path[0], sorted(os.environ))",
    "nothing to read": "import sys; print(repr(sys.stdin.read()))",
    "a code": "import sys; sys.exit(7)",
    "a message": "import sys; sys.exit('no')",
    "an error": "1 / 0",
    "a warning": "import warnings; warnings.warn('careful')",
    "a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "an interrupt": "raise KeyboardInterrupt",
    "at exit": "import atexit; atexit.register(print, 'last'); print('first')",
    "a thread": "import threading; threading.Timer(0.05, print, ['later']).start()",
    "its name": "import sys; print(__name__, sys.modules['__main__'].__dict__ is globals())",
}


def last_line(text: str) -> list[str]:
    return text.splitlines()[-1:]


@pytest.mark.parametrize("what", PROGRAMS)
def test_it_is_as_python_is(what: str, tmp_path: Path):
    words = ["-W", "error", "-c", PROGRAMS[what], "a", "b"]
    environment = os.environ | {"OWN": "1"}
    cold = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    found = warm.run(words, tmp_path, environment)
    assert (found.returncode, found.stdout) == (cold.returncode, cold.stdout)
    assert last_line(found.stderr) == last_line(cold.stderr)


def test_scripts_find_what_lies_beside_them(tmp_path: Path):
    (tmp_path / "beside.py").write_text("said = 'beside'")
    (tmp_path / "script.py").write_text("import sys, beside; print(__name__, beside.said, sys.argv)")
    found = warm.run(["script.py", "a"], tmp_path)
    assert found.stdout == "__main__ beside ['script.py', 'a']\n"


def test_it_can_be_watched_and_ended():
    with warm.Process(["-c", "import time; print('here', flush=True); time.sleep(60)"]) as process:
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        assert process.pid != os.getpid()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_gradients_can_be_computed():
    """After a backward pass in the process that it is forked from, they could not."""
    code = "import torch; x = torch.ones(2, requires_grad=True); (2 * x).sum().backward(); print(x.grad)"
    assert warm.run(["-c", code], check=True).stdout == "tensor([2., 2.])\n"
