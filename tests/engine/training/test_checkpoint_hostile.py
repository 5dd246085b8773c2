"""Checkpoints that are damaged or made up: one line, and never another error."""

import io
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from prune.engine.errors import TrainingError
from prune.engine.events import Accuracy
from prune.engine.training.checkpoint import (
    Checkpoint,
    Progress,
    read_checkpoint,
    take_back,
    write_checkpoint,
)
from prune.engine.training.precision import Precision
from prune.weights.errors import UnwritableOutput
from torch import nn


@pytest.fixture
def model() -> nn.Module:
    return nn.Linear(3, 2)


@pytest.fixture
def checkpoint(model: nn.Module) -> Checkpoint:
    accuracy = Accuracy(50.0, None, 1.5, 10, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return Checkpoint(
        Progress(3, 2, accuracy, accuracy, 1.5),
        Precision(),
        {"epochs": 5, "milestones": (1, 2)},
        model.state_dict(),
        optimizer.state_dict(),
        {"masked": torch.tensor([1, 5]), "begun": 2, "flags": torch.tensor([True])},
    )


def test_all_of_it_comes_back(tmp_path: Path, checkpoint: Checkpoint, model: nn.Module):
    write_checkpoint(tmp_path / "c.pt", checkpoint)
    back = read_checkpoint(tmp_path / "c.pt")
    assert (back.progress, back.precision, back.config) == (
        checkpoint.progress,
        checkpoint.precision,
        checkpoint.config,
    )
    assert back.hooks["begun"] == 2
    for name in ("masked", "flags"):
        assert torch.equal(back.hooks[name], checkpoint.hooks[name])
        assert back.hooks[name].dtype == checkpoint.hooks[name].dtype
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    take_back(back, tmp_path / "c.pt", model, optimizer)
    for mine, theirs in zip(
        optimizer.state_dict()["state"].values(), checkpoint.optimizer["state"].values(), strict=True
    ):
        assert torch.equal(mine["momentum_buffer"], theirs["momentum_buffer"])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", 2, "format is 2"),
        ("progress", None, "progress is None"),
        ("progress.epoch", -1, "progress.epoch is -1"),
        ("progress.epoch", "3", "progress.epoch is '3'"),
        ("progress.best", {"top1": 1.0}, "'progress.best.* is missing"),
        ("progress.extra", 1, "there is a key 'extra'"),
        ("precision.bf16", 1, "precision.bf16 is 1; it must be true or false"),
        ("config", [1], "config is"),
        ("model.weight", 3, "model.weight is 3; it must be a tensor"),
        ("optimizer", None, "optimizer is None"),
        ("hooks", 3, "hooks is 3"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(tmp_path, checkpoint, place, value, message):
    contents = {"format": 1, **{name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}}
    contents["progress"], contents["precision"] = asdict(checkpoint.progress), asdict(checkpoint.precision)
    *outer, last = place.split(".")
    target = contents
    for name in outer:
        target = target[name]
    target[last] = value
    torch.save(contents, tmp_path / "c.pt")
    with pytest.raises(TrainingError, match=message):
        read_checkpoint(tmp_path / "c.pt")


@pytest.mark.parametrize("damage", ["group", "key", "shape", "value", "list"])
def test_an_optimizer_of_another_network_is_refused(tmp_path, checkpoint, model, damage):
    state = {**checkpoint.optimizer, "param_groups": [dict(checkpoint.optimizer["param_groups"][0])]}
    match damage:
        case "group":
            state["param_groups"] = []
        case "key":
            del state["state"]
        case "shape":
            state["state"] = {0: {"momentum_buffer": torch.zeros(7)}}
        case "value":
            state["param_groups"][0]["momentum"] = "much"
        case "list":
            state["state"] = [1]
    broken = Checkpoint(**{**checkpoint.__dict__, "optimizer": state})
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        take_back(broken, tmp_path / "c.pt", model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def test_a_compressed_one_is_not_unpacked(tmp_path: Path, checkpoint: Checkpoint):
    write_checkpoint(tmp_path / "c.pt", checkpoint)
    content = io.BytesIO((tmp_path / "c.pt").read_bytes())
    with (
        zipfile.ZipFile(content) as whole,
        zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(TrainingError, match="is compressed"):
        read_checkpoint(tmp_path / "z.pt")


@pytest.mark.parametrize("where", ["hooks", "progress"])
def test_lists_that_hold_one_list_many_times_do_not_multiply(tmp_path, checkpoint, where):
    nested: object = 0
    for _ in range(60):
        nested = [nested, nested]
    contents = {"format": 1, **{name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}}
    contents["progress"], contents["precision"] = asdict(checkpoint.progress), asdict(checkpoint.precision)
    contents[where] = {"a": nested} if where == "hooks" else nested
    torch.save(contents, tmp_path / "c.pt")
    if where == "hooks":
        assert read_checkpoint(tmp_path / "c.pt").hooks["a"][0] is not None
    else:
        with pytest.raises(TrainingError, match="progress is"):
            read_checkpoint(tmp_path / "c.pt")


def test_a_full_disk_is_told_as_such_and_the_last_checkpoint_stays(tmp_path, checkpoint, monkeypatch):
    write_checkpoint(tmp_path / "c.pt", checkpoint)
    before = (tmp_path / "c.pt").read_bytes()
    given = []

    def full(_: Path, data: memoryview) -> None:
        given.append(data)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnwritableOutput, match="No space left on device"):
        write_checkpoint(tmp_path / "c.pt", checkpoint)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"c.pt": before}
    with pytest.raises(
        ValueError, match="released"
    ):  # Python 3.12.1 crashes where its collector has to do it
        len(given[0])
