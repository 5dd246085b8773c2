"""The engine names settings as Python does; the command line says how they are typed."""

from inspect import signature
from typing import get_args

import numpy as np
import pytest
from prune.cli.commands import COMMANDS, load
from prune.cli.progress import describe
from prune.cli.show import Out
from prune.cli.spelling import as_typed
from prune.engine.events import Note
from prune.weights import store
from prune.weights.store import WeightFile
from typer.models import OptionInfo


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("`round_to` has no effect with `rate`", "--round-to has no effect with --rate"),
        ("give `image_size` 32", "give --image-size 32"),
        ("`flops`/`params`", "--flops/--params"),
        ("`layer_rates`", "--layer-rate"),
        ("`input_size` or `batch_size`", "--image-size or --batch-size"),
        ("`augment`", "--no-augment"),
        ("`to`, `names`, `fold_bn`, `distill`, `like`", "--to, --names, --fold-bn, --distill, --like"),
        ("`skip`: 'a_b'", "--skip: 'a_b'"),
    ],
)
def test_settings_become_options(said: str, shown: str):
    assert as_typed(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        "train one with `prune train-base --arch resnet20`",
        "`self` is no setting",
        "`nn.Module`, `rate=0.5` and `Rate` are none",
        "round_to and 'rate' without backticks",
        "` rate` `rate",
        "",
    ],
)
def test_all_else_stays(said: str):
    assert as_typed(said) == said


def test_all_commands_spell_a_setting_alike():
    spelt: dict[str, set[str]] = {}
    for command in COMMANDS:
        for name, parameter in signature(load(command)).parameters.items():
            for mark in get_args(parameter.annotation):
                if isinstance(mark, OptionInfo):
                    spelt.setdefault(name, set()).add(mark.default)
    assert len(spelt) > 80
    assert all(len(options) == 1 for options in spelt.values()), spelt


def test_everything_the_engine_says_is_shown_as_typed(capsys: pytest.CaptureFixture[str]):
    Out().note("see `data_dir`")
    Out().warning("see `data_dir`")
    assert capsys.readouterr().err == "see --data-dir\nwarning: see --data-dir\n"
    assert describe(Note("see `data_dir`")) == "see --data-dir"


def test_errors_and_their_notes_are_shown_as_typed(prune, monkeypatch: pytest.MonkeyPatch):
    from prune.engine.errors import EngineError
    from prune.weights import stats

    def fail(*_: object) -> None:
        error = EngineError("`data_dir` is empty")
        error.add_note("give `dataset`")
        raise error

    monkeypatch.setattr(stats, "describe", fail)
    store.write("any.hdf5", WeightFile({"w": np.ones(3)}))
    ended = prune("inspect", "any.hdf5")
    assert ended.code == 2
    assert ended.err == "error: --data-dir is empty; give --dataset\n"
