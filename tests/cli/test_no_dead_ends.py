"""What stopped people once: each is told what to do next, in words that they have seen before."""

import io
import sys
from pathlib import Path

import pytest
from prune.cli import progress
from prune.cli.main import main
from prune.cli.progress import draw
from prune.cli.show import Out
from prune.cli.units import count
from prune.engine import events
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network
from prune.weights import store
from rich.console import Console
from rich.progress import Task

ONLY_STREAMS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.three, self.fc = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, num_classes)

    def forward(self, x):
        stream = self.one(x) + self.two(x)
        return self.fc((stream + self.three(stream)).mean((2, 3)))
"""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("flops --arch resnet20 --flops 50", "flops target 50 is out of reach"),
        ("flops --arch resnet20 --flops 50", "; did you mean 0.5 or 50%?"),
        ("flops --arch resnet20 --params 37.5", "; did you mean 0.375 or 37.5%?"),
        ("train-base", "give --arch, one of densenet"),
        ("train-base", "or torchvision:NAME, or package.module:factory"),
    ],
)
def test_the_next_step_is_named(prune, words: str, line: str):
    ended = prune(*words.split())
    assert ended.code == 2
    assert line in ended.err


def test_no_data_set_is_named_unasked(prune, file: Path):
    whole = store.read(file)
    store.write("bare.hdf5", store.WeightFile(whole.tensors, {**whole.meta, "accuracy": None}))
    for words in (("evaluate", file.with_name("bare.hdf5"), file), ("finetune", "bare.hdf5")):
        ended = prune(*words)
        assert ended.code == 2
        assert "say so with --dataset or --data-dir" in ended.err
        assert "digits" not in ended.err


def test_where_only_streams_are_left_coupled_is_named(prune, tmp_path: Path, monkeypatch):
    (tmp_path / "only_streams.py").write_text(ONLY_STREAMS)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["flops", "--arch", "only_streams:Net", "--image-size", "16", "--rate", "0.5"]
    ended = prune(*words)
    assert "nothing may leave" in ended.err
    assert "with --residual coupled, channels of 1 groups may" in ended.err
    assert prune(*words, "--residual", "coupled").code == 0
    sys.modules.pop("only_streams", None)


def test_coupled_rows_name_their_members_and_words_are_explained(prune, resnet8: None):
    save_network("base.hdf5", new_network("resnet8", input_size=16))
    base = ("prune", "base.hdf5", "--rate", "0.5", "--recalibrate", "0", "--dataset", "digits")
    coupled = prune(*base, "--residual", "coupled", "--out", "coupled.hdf5")
    assert "stage1.conv1.conv and 1 more:" in coupled.out
    row = next(line for line in coupled.out.splitlines() if line.startswith("  stage1.block0.conv2.conv"))
    assert row.split()[1:3] == ["16", "8"]
    assert "internal: " not in coupled.out
    internal = prune(*base, "--out", "internal.hdf5")
    assert "internal: channels that are added into a residual stream" in internal.out
    assert "--residual coupled or scatter takes some of them too" in internal.out


def test_built_in_networks_are_listed(prune):
    ended = prune("flops", "--list")
    assert ended.code == 0
    assert any(line.split() == ["resnet56", "10", "3x32x32"] for line in ended.out.splitlines())
    assert "torchvision:NAME" in ended.err
    assert '"resnet56"' in prune("flops", "--list", "--json").out


@pytest.mark.parametrize("words", [["--help"], ["flops", "--help"], ["prune", "--help"]])
def test_flags_take_no_value(words: list[str], capsys):
    assert main(words) == 0
    assert "bool" not in capsys.readouterr().out


def test_completion_can_be_installed(capsys):
    assert main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out


def test_names_break_between_words(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    name = "features.denseblock1.denselayer12.conv2"
    Out().table("", {"layer": str, "channels": count, "kept": count}, [[name, 1234, 617]])
    lines = capsys.readouterr().out.splitlines()
    assert any("denselayer12.conv2" in line for line in lines), lines


def lines_of(work, **how) -> list[str]:
    shown = io.StringIO()
    draw(Console(file=shown, width=100, **how), work)
    return shown.getvalue().splitlines()


def test_off_a_terminal_there_is_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 0.0)
    assert lines_of(iter([events.Scored(3, 5), events.Tested(256, 1000)])) == [
        "scoring: 3 of 5",
        "testing: 256 of 1,000",
    ]
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 60.0)
    assert lines_of(iter([events.Scored(3, 5)])) == []


def test_what_comes_after_a_training_is_counted_for_itself(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 0.0)
    right = events.Accuracy(90.0, None, 0.1, 10, 1.0)
    begun = events.RunStarted(Path("run"), 2, 0, 10, "cpu", "fp32", False)
    ended = events.Finished(Path("run"), 2, 2, right, right, 1.0)
    assert lines_of(iter([begun, ended, events.Scored(3, 5)]))[-1] == "scoring: 3 of 5"


def test_no_time_is_shown_before_it_is_known():
    task = Task(0, "", 10, 0, _get_time=lambda: 0.0)  # pyright: ignore[reportArgumentType]
    assert progress._TimeLeft().render(task).plain == ""


def test_distilled_losses_are_called_so():
    accuracy = events.Accuracy(90.0, None, 0.3, 100, 1.0)
    done = events.EpochDone(1, 2, 0.1, 0.5, 80.0, accuracy, 1.0, 100.0, best=False)
    for distilled, words in ((True, "  distilled loss 0.500"), (False, "  loss 0.500")):
        started = events.RunStarted(Path("run"), 2, 0, 5, "cpu", "fp32", False, distilled)
        line = lines_of(iter([started, done]))[-1]
        assert words in line
        assert ("distilled" in line) is distilled
