"""Interrupts that meet what cannot bear them: a destructor, the garbage collector, torch.export."""

import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import warm
from prune.cli import signals
from prune.cli.main import main
from prune.weights import stats

LONGEST = 5.0  # seconds; the interrupt comes within hundredths of one


def in_a_destructor(kind: signal.Signals) -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(kind)

    Dying()


def twice_in_destructors(kind: signal.Signals) -> None:
    """The second one is still running when the interrupt is raised again."""

    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(kind)

    class Waiting:
        def __del__(self) -> None:
            until = time.monotonic() + LONGEST
            while time.monotonic() < until:
                time.sleep(0.001)

    Dying()
    Waiting()


def in_the_collector(kind: signal.Signals) -> None:
    def meet(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(meet)
        signal.raise_signal(kind)

    gc.callbacks.append(meet)
    gc.collect()


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """These tests may run where SIGHUP is ignored."""
    before = {kind: signal.signal(kind, signal.SIG_DFL) for kind in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize("meet", [in_a_destructor, twice_in_destructors, in_the_collector])
@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "ended by SIGTERM\n"),
        (signal.SIGHUP, 129, "ended by SIGHUP\n"),
    ],
)
def test_an_interrupt_that_python_loses_is_heard_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    weight_file: str,
    meet: Callable[[signal.Signals], None],
    kind: signal.Signals,
    code: int,
    line: str,
):
    def describe(path: Path) -> None:
        meet(kind)
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            time.sleep(0.001)
        raise AssertionError("the interrupt was lost")

    monkeypatch.setattr(stats, "describe", describe)
    assert main(["inspect", weight_file]) == code
    assert capsys.readouterr() == ("", line)


EXPORTING = """
import signal, sys
import torch.export
from prune.cli.main import main
from torch._subclasses.fake_tensor import FakeTensorMode

class Interrupting:
    enter = FakeTensorMode.__enter__

    def __enter__(self):
        entered = Interrupting.enter(self)
        depth, frame = 0, sys._getframe()
        while frame is not None:
            depth, frame = depth + (frame.f_code.co_name == "__torch_dispatch__"), frame.f_back
        if depth:
            signal.raise_signal(signal.KIND)
        return entered

FakeTensorMode.__enter__ = Interrupting.__enter__
sys.exit(main(["inspect", "--arch", "resnet20", "--channels"]))
"""


@pytest.mark.parametrize(("kind", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_waits_for_torch_export(kind: str, code: int):
    """Raised there, it passes C++ code that aborts: the mode that Python has entered is not left again."""
    ended = warm.run(["-c", EXPORTING.replace("KIND", kind)], timeout=60)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith("interrupted" if kind == "SIGINT" else "ended by SIGTERM")


def test_what_else_python_loses_is_told_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], weight_file: str
):
    told: list[object] = []

    class Dying:
        def __del__(self) -> None:
            raise ValueError("in a destructor")

    def describe(path: Path) -> None:
        Dying()
        raise OSError("gone")

    def tell(unraisable: Any) -> None:
        told.append(unraisable.exc_value.args)

    monkeypatch.setattr(sys, "unraisablehook", tell)
    monkeypatch.setattr(stats, "describe", describe)
    assert main(["inspect", weight_file]) == 2
    assert told == [("in a destructor",)]
    assert sys.unraisablehook is tell
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize(
    ("done", "code", "said"), [(0, 0, ""), (2, 2, ""), (None, 143, "ended by SIGTERM\n")]
)
def test_an_interrupt_between_the_end_and_the_exit_is_no_traceback(monkeypatch, capsys, done, code, said):
    """What is done stays done; what was about to say how it ended says it."""

    def end(_: list[str]) -> int:
        if done is None:
            signal.raise_signal(signal.SIGTERM)
        return done

    @contextmanager
    def late() -> Iterator[None]:
        with heeded():
            yield
            signal.raise_signal(signal.SIGTERM)

    heeded = signals.heeded
    monkeypatch.setattr("prune.cli.main._run", end)
    monkeypatch.setattr(signals, "heeded", late)
    assert main([]) == code
    assert capsys.readouterr().err == said
