"""What is shown: whole tables, on a pipe and on a terminal, and where each thing goes."""

import io
import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from prune.cli import progress, units
from prune.cli.show import Format, Out
from prune.engine import events
from prune.engine.events import Accuracy, Event, Finished, Note
from rich.console import Console

COLUMNS: dict[str, Format] = {"layer": str, "MACs": units.large, "kept": units.percent}
ROWS = [("stage1.block0.conv1.conv", 589_824, 0.5), ("linear [10]", 640, None)]
ACCURACY = Accuracy(top1=93.26, top5=None, loss=0.3, images=10_000, seconds=1.5)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Rich take the streams for a terminal of eighty columns."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def visible(output: str) -> list[str]:
    """The lines of a terminal, without the codes that style them and move the cursor."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).strip("\r\n"))


def training() -> Iterator[Event]:
    yield events.RunStarted(Path("run"), 2, 1, 10, "cpu", "bf16", channels_last=True)
    yield events.StepDone(2, 10, 10, 0.5, 1234.5)
    yield events.Tested(100, 10_000)
    yield events.EpochDone(2, 2, 0.01, 0.5, 90.0, ACCURACY, 65.0, 1234.5, best=True)
    yield events.Saved(Path("run/best.hdf5"), "best")
    yield events.Saved(Path("run/final.hdf5"), "final")
    yield events.Note("weights are random")
    yield Finished(Path("run"), 2, 2, ACCURACY, ACCURACY, 70.0)


def test_a_piped_table_is_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "20")
    Out().table("Layers", COLUMNS, ROWS)
    expected = """\
        Layers
        layer                      MACs   kept
        ──────────────────────────────────────
        stage1.block0.conv1.conv  0.59M  50.0%
        linear [10]                 640      -

        """
    assert capsys.readouterr() == (dedent(expected), "")


@pytest.mark.usefixtures("terminal")
def test_a_table_on_a_terminal_folds_and_loses_nothing(capsys: pytest.CaptureFixture[str]):
    name = "abcdefghij" * 12
    Out().table("", {"layer": str, "MACs": units.large}, [(name, 1)])
    heading, rule, *lines = visible(capsys.readouterr().out)
    assert heading.split() == ["layer", "MACs"]
    assert set(rule) == {"─"}
    assert max(map(len, lines)) <= 80
    assert "".join(line.split()[0] for line in lines) == name


@pytest.mark.usefixtures("terminal")
def test_numbers_are_never_folded(capsys: pytest.CaptureFixture[str]):
    columns: dict[str, Format] = {"recipe": str} | {f"count {number}": units.count for number in range(9)}
    counts = [10**8 + number for number in range(9)]
    Out().table("", columns, [("fpgm/resnet50-mix30-pretrained", *counts)])
    lines = visible(capsys.readouterr().out)
    assert max(map(len, lines)) <= 80
    shown = re.findall(r"[\d,]{9,}", " ".join(lines))
    assert shown == [units.count(number) for number in counts]
    assert sum(line.startswith("recipe") for line in lines) == 2  # each part says whose numbers it has


def test_a_table_without_rows_keeps_its_headings(capsys: pytest.CaptureFixture[str]):
    Out().table("Layers", COLUMNS, [])
    assert capsys.readouterr().out == "Layers\nlayer  MACs  kept\n─────────────────\n\n"


def test_facts_leave_out_what_is_unknown(capsys: pytest.CaptureFixture[str]):
    Out().facts({"arch": "resnet56", "recipe": None, "parameters": "0.85M"})
    assert capsys.readouterr().out == "arch        resnet56\nparameters  0.85M\n\n"


def test_words_about_the_work_go_to_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "network.hdf5"
    file.write_bytes(bytes(3_400))
    out = Out()
    out.note("[b]not markup[/b] :smile:")
    out.warning("random weights")
    out.saved(file)
    out.saved(tmp_path)
    assert capsys.readouterr() == (
        "",
        "[b]not markup[/b] :smile:\n"
        "warning: random weights\n"
        f"saved {file} (3.4 kB)\n"
        f"saved {tmp_path}\n",
    )  # fmt: skip


def test_quiet_keeps_results_and_warnings(capsys: pytest.CaptureFixture[str]):
    out = Out(quiet=True)
    out.note("a note")
    out.warning("a warning")
    out.facts({"arch": "resnet56"})
    last = out.progress(training())
    assert isinstance(last, Finished)
    output = capsys.readouterr()
    assert output.out.split() == ["arch", "resnet56"]
    assert output.err == "warning: a warning\n"


def test_json_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str]):
    out = Out(as_json=True)
    out.table("Layers", COLUMNS, ROWS)
    out.facts({"arch": "resnet56"})
    out.note("a note")
    out.json(
        {
            "path": Path("x"),
            "accuracy": ACCURACY,
            "kept": {"conv1": np.array([0, 2])},
            "mean": np.float32(0.5),
            "worst": float("nan"),
            "shape": (3, 3),
        }
    )
    output = capsys.readouterr()
    assert output.err == "a note\n"
    assert json.loads(output.out) == {
        "path": "x",
        "accuracy": {"top1": 93.26, "top5": None, "loss": 0.3, "images": 10_000, "seconds": 1.5},
        "kept": {"conv1": [0, 2]},
        "mean": 0.5,
        "worst": None,
        "shape": [3, 3],
    }


def test_json_prints_nothing_for_people(capsys: pytest.CaptureFixture[str]):
    Out().json({"arch": "resnet56"})
    assert capsys.readouterr() == ("", "")


def test_piped_progress_is_a_line_per_epoch(capsys: pytest.CaptureFixture[str]):
    last = Out().progress(training())
    assert isinstance(last, Finished)
    assert capsys.readouterr() == (
        "",
        "training in run: 2 epochs of 10 steps on cpu, bf16, channels last, going on after epoch 1\n"
        "epoch 2/2  loss 0.500  train 90.00%  test 93.26%  lr 0.01  1m05s  best\n"
        "saved run/final.hdf5\n"
        "weights are random\n",
    )


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("event", "word"), [(events.Tested, "testing"), (events.Scored, "scoring")])
def test_progress_on_a_terminal_is_a_bar_that_fits(event, word, capsys: pytest.CaptureFixture[str]):
    Out().progress(event(done, 200) for done in (50, 100))
    output = capsys.readouterr()
    assert not output.out
    bars = [line for line in visible(output.err) if line]
    assert re.fullmatch(word + r" [━╺╸]+ +50% .*", bars[-1])
    assert max(map(len, bars)) <= 80


def test_progress_gives_what_the_work_returns():
    def evaluating():
        yield events.Tested(10_000, 10_000)
        return ACCURACY

    assert Out(quiet=True).progress(evaluating()) is ACCURACY
    assert Out(quiet=True).progress([]) is None


def test_ctrl_c_while_drawing_reaches_the_work(monkeypatch: pytest.MonkeyPatch):
    def work() -> Generator[Event, None, None]:
        try:
            yield Note("one")
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("interrupted after epoch 3") from stop

    def interrupted(event: Event) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "describe", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted after epoch 3"):
        progress.draw(Console(file=io.StringIO()), work())
