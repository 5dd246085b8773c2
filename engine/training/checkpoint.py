"""All that training needs to go on exactly where it stopped, in one file."""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...weights import schema
from ...weights.errors import WeightsError, first_line
from ...weights.files import atomic_write
from ...weights.torch_file import Stored, TorchFile, read_torch
from ..errors import TrainingError
from ..events import Accuracy
from .precision import Precision

FORMAT = 1

_COUNT = schema.integer(0, 10**9)


def _tensor(value: Any, where: str) -> None:
    if not isinstance(value, Tensor):
        raise schema.WrongValue(f"{where} is {schema.shown(value)}; it must be a tensor")


_ACCURACY = schema.record(
    {
        "top1": schema.number,
        "top5": schema.maybe(schema.number),
        "loss": schema.number,
        "images": _COUNT,
        "seconds": schema.number,
    },
    {},
)
_CONTENTS = schema.record(
    {
        "format": schema.integer(FORMAT, FORMAT),
        "progress": schema.record(
            {
                "epoch": _COUNT,
                "best_epoch": _COUNT,
                "best": schema.maybe(_ACCURACY),
                "last": schema.maybe(_ACCURACY),
                "seconds": schema.number,
            },
            {},
        ),
        "precision": schema.record({"bf16": schema.flag, "channels_last": schema.flag}, {}),
        "config": schema.mapping(schema.anything),
        "model": schema.mapping(_tensor),
        "optimizer": schema.mapping(schema.anything),
        "hooks": schema.mapping(schema.anything),
    },
    {},
)


@dataclass(frozen=True)
class Progress:
    """How far training has come: `epoch` epochs done, in `seconds` of training and testing."""

    epoch: int = 0
    best_epoch: int = 0
    best: Accuracy | None = None
    last: Accuracy | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A stop between two epochs.

    Attributes:
        config: whatever must be the same when training goes on; plain values only.
        hooks: the state of what steers training from outside; tensors and plain values only.
    """

    progress: Progress
    precision: Precision
    config: Mapping[str, Any]
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    hooks: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path` in one move."""
    contents = {
        "format": FORMAT,
        "progress": dataclasses.asdict(checkpoint.progress),
        "precision": dataclasses.asdict(checkpoint.precision),
        "config": dict(checkpoint.config),
        "model": dict(checkpoint.model),
        "optimizer": dict(checkpoint.optimizer),
        "hooks": dict(checkpoint.hooks),
    }
    content = io.BytesIO()  # in memory first: on a full disk, torch.save tells a file's error in its own way
    torch.save(contents, content)
    # What is written is let go whatever happens: some Pythons crash if they find it in a traceback later.
    with atomic_write(path, force=True) as aside, content.getbuffer() as written:
        aside.write_bytes(written)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote, on the CPU; nothing in the file is ever executed.

    Raises:
        TrainingError: the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint {path}; start the run anew, without `resume`")
    try:
        file = read_torch(path)
        contents = _with_tensors(file.content, file, {})
        _CONTENTS(contents, "")
    except (WeightsError, schema.WrongValue, RecursionError) as error:
        raise _unreadable(path, error) from error
    progress = dict(contents["progress"])
    for name in ("best", "last"):
        progress[name] = Accuracy(**progress[name]) if progress[name] else None
    parts = {name: contents[name] for name in ("config", "model", "optimizer", "hooks")}
    return Checkpoint(Progress(**progress), Precision(**contents["precision"]), **parts)


def take_back(checkpoint: Checkpoint, path: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Give a network and its optimizer the state they had.

    Raises:
        TrainingError: the checkpoint holds the state of others.
    """
    groups = [dict(group) for group in optimizer.param_groups]
    try:
        model.load_state_dict(checkpoint.model)
        optimizer.load_state_dict(dict(checkpoint.optimizer))
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            for name, value in before.items():
                now = group.get(name, value)
                if name != "params" and type(now) is not type(value):
                    raise ValueError(f"the optimizer's {name} is {schema.shown(now)}")
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if value is not None and (not isinstance(value, Tensor) or value.shape != parameter.shape):
                    raise ValueError(f"the optimizer's {name} is not of its parameter's shape")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path} is not a readable checkpoint of this tool: {first_line(error)}")


def _with_tensors(content: Any, file: TorchFile, made: dict[int, Any]) -> Any:
    """What a file holds, with its tensors; what it holds several times is made once.

    Args:
        made: what has been made so far, by the identity of what the file has for it.
    """
    if id(content) in made or not isinstance(content, Stored | dict | list | tuple):
        return made.get(id(content), content)
    if isinstance(content, Stored):
        result: Any = torch.from_numpy(file.array(content, f"a tensor of '{file.path}'").copy())
    elif isinstance(content, dict):
        result = {name: _with_tensors(item, file, made) for name, item in content.items()}
    else:
        result = type(content)(_with_tensors(item, file, made) for item in content)
    made[id(content)] = result
    return result


def check_same_settings(checkpoint: Checkpoint, path: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than the checkpoint's.

    Raises:
        TrainingError: names the first difference.
    """
    for name in {**checkpoint.config, **config}:
        before, now = checkpoint.config.get(name), config.get(name)
        if before != now:
            raise TrainingError(
                f"{path} was made with {name} = {schema.shown(before)}, not {schema.shown(now)}; "
                "resume with the same settings or start anew"
            )


def check_same_network(checkpoint: Checkpoint, path: Path, model: nn.Module) -> None:
    """Refuse to go on with another network than the checkpoint's.

    Raises:
        TrainingError: names the first difference.
    """
    state = model.state_dict()
    for name in {**checkpoint.model, **state}:
        before, now = _shape(checkpoint.model.get(name)), _shape(state.get(name))
        if before != now:
            raise TrainingError(
                f"{path} is of another network: its '{name}' is {before}, this network's is {now}"
            )


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "a scalar"
