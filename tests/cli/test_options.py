"""Shared options say what the engine does: choices and defaults are held against it."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from prune.cli import options
from prune.cli.grouped import options_of
from prune.cli.options.amount import budget
from prune.cli.options.training import epoch_list
from prune.engine import schedules
from prune.engine.allocations import required
from prune.engine.jobs.job import Job
from prune.engine.training.config import TrainConfig
from prune.engine.training.optimizer import DECAY_RULES, LR_SCHEDULES
from prune.engine.training.precision import PRECISIONS

ENGINE_DEFAULTS = TrainConfig(epochs=2, lr=0.1)
TRAINING = {option.name: option.annotation for option in options_of(options.Training)}


def help_of(option: str) -> str:
    return get_args(TRAINING[option])[1].help


@pytest.mark.parametrize(
    ("option", "choices"),
    [("decay_rule", DECAY_RULES), ("lr_schedule", LR_SCHEDULES), ("precision", PRECISIONS)],
)
def test_choices_are_the_engines(option: str, choices: tuple[str, ...]):
    literal = get_args(get_args(TRAINING[option])[0])[0]
    assert get_args(literal) == choices


@pytest.mark.parametrize(
    "option",
    [
        "batch_size",
        "eval_batch_size",
        "momentum",
        "weight_decay",
        "decay_rule",
        "lr_schedule",
        "gamma",
        "warmup_epochs",
        "label_smoothing",
        "precision",
    ],
)
def test_the_help_names_the_engines_default(option: str):
    named = re.search(r"Default: (\S+)\.$", help_of(option))
    assert named
    default = getattr(ENGINE_DEFAULTS, option)
    assert type(default)(named[1]) == default


def test_what_is_left_unsaid_is_the_engines():
    config = options.Training().config(epochs=2, lr=0.1, seed=0, device="auto")
    assert config == ENGINE_DEFAULTS


def test_what_is_said_of_a_training_wins():
    said = options.Training(epochs=3, lr=0.0625, milestones=(1, 2), no_augment=True, sync_bn=True)
    config = said.config(epochs=2, lr=0.1, seed=7, device="cpu", distill_alpha=0.25)
    assert config == TrainConfig(
        epochs=3,
        lr=0.0625,
        lr_schedule="multistep",
        milestones=(1, 2),
        augment=False,
        sync_bn=True,
        seed=7,
        device="cpu",
        distill_alpha=0.25,
    )


def test_a_schedule_that_is_said_stays_beside_milestones():
    said = options.Training(milestones=(1,), lr_schedule="cosine")
    assert said.settings()["lr_schedule"] == "cosine"


def test_every_setting_of_a_training_is_the_engines():
    known = {field.name for field in fields(TrainConfig)}
    values = dict.fromkeys(TRAINING, 1)
    assert options.Training(**values).settings().keys() <= known  # pyright: ignore[reportArgumentType]


def test_every_schedule_there_is_can_be_asked_for():
    hints = {option.name: option.annotation for option in options_of(options.Schedule)}
    choices = get_args(get_args(hints["schedule"])[0])
    assert {*choices, "gradient-resetting"} == set(schedules.names())


def test_an_approach_goes_by_the_names_of_the_job():
    known = {field.name: field.default for field in fields(Job)}
    assert {field.name: field.default for field in fields(options.Approach)}.items() <= known.items()


def test_the_images_are_the_engines():
    from prune.engine.network.sources import Images

    assert options.Images().images() == Images()
    said = options.Images(dataset="cifar10", data_dir=Path("there"), download=True, image_size=8, workers=3)
    assert said.images() == Images("cifar10", Path("there"), 8, download=True, workers=3)


def test_limits_alone_are_no_amount():
    assert options.Amount(skip=["conv1"], residual="coupled", min_channels=2).allocation() is None
    assert options.Amount(skip=[], layer_rate=[]).settings() == {}


def test_an_amount_goes_by_the_engines_names():
    said = options.RankedAmount(layer_rate=["conv1=0.5"], ranking="global", skip=["fc"], flops=0.5)
    settings = said.settings()
    assert settings == {"layer_rates": ["conv1=0.5"], "flops": 0.5, "skip": ["fc"], "ranking": "global"}
    assert next(iter(settings)) == "layer_rates", "errors name what excludes each other in this order"
    half = options.RankedAmount(flops=0.5, ranking="global", skip=["fc"]).allocation()
    assert half == required({"flops": 0.5, "ranking": "global", "skip": ("fc",)})


@pytest.mark.parametrize("said", [{}, {"distill": Path("teacher.hdf5"), "distill_alpha": 1.0}])
def test_a_teacher_brings_its_defaults(said: dict[str, Any]):
    expected = {"distill_alpha": 1.0, "distill_temperature": 4.0} if said else {}
    assert options.Distillation(**said).settings() == expected


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"distill_alpha": 0.5}, "need a network"),
        ({"distill_temperature": 2.0}, "need a network"),
        ({"distill": Path("teacher.hdf5"), "distill_alpha": 0.0}, "0 is no share"),
        ({"distill": Path("teacher.hdf5"), "distill_alpha": 1.5}, "1.5 is no share"),
    ],
)
def test_distillation_that_is_none(said: dict[str, Any], words: str):
    with pytest.raises(typer.BadParameter, match=words):
        options.Distillation(**said).settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5", 0.5), ("50%", 0.5), ("60M", 60e6), ("1.2G", 1.2e9), ("900k", 9e5), ("7", 7.0)],
)
def test_budgets(text: str, expected: float):
    assert budget(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "half", "1.2.3", "inf", "nan", "5 0"])
def test_budgets_that_are_none(text: str):
    with pytest.raises(typer.BadParameter, match=r"write a share like 0\.5 or an amount like 60M"):
        budget(text)


def test_lists_of_epochs():
    assert epoch_list("80") == (80,)
    assert epoch_list("80, 120") == (80, 120)


@pytest.mark.parametrize("text", ["", "80,", "a", "0,5", "-1", "1.5"])
def test_lists_of_epochs_that_are_none(text: str):
    with pytest.raises(typer.BadParameter, match="write them like 80,120"):
        epoch_list(text)
