"""All that training needs to go on exactly where it stopped, in one file."""

import dataclasses
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...weights.errors import first_line
from ...weights.files import atomic_write
from ..errors import TrainingError
from ..events import Accuracy
from .precision import Precision

FORMAT = 1


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
    with atomic_write(path, force=True) as aside:
        torch.save(contents, aside)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote, on the CPU; nothing in the file is ever executed.

    Raises:
        TrainingError: the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint {path}; start the run anew, without `resume`")
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch does not compare the checksums it writes
            if archive.testzip() is not None:
                raise ValueError("its checksum is wrong")
        contents = torch.load(path, map_location="cpu", weights_only=True)
        if contents.pop("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        progress = contents.pop("progress")
        for name in ("best", "last"):
            progress[name] = Accuracy(**progress[name]) if progress[name] else None
        return Checkpoint(Progress(**progress), Precision(**contents.pop("precision")), **contents)
    except Exception as error:  # a damaged archive can fail in any way at all
        raise TrainingError(
            f"{path} is not a readable checkpoint of this tool: {first_line(error)}"
        ) from error


def check_same_settings(checkpoint: Checkpoint, path: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than the checkpoint's.

    Raises:
        TrainingError: names the first difference.
    """
    for name in {**checkpoint.config, **config}:
        before, now = checkpoint.config.get(name), config.get(name)
        if before != now:
            raise TrainingError(
                f"{path} was made with {name} = {before}, not {now}; "
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
