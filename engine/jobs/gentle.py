"""How a compensated network is trained further: from where it stands, taught by the network it was cut from.

Solved weights stand close to a good place: hard labels alone pull them away from it at first, and
re-estimated batch norms would undo part of the solution. The answers of the full network do neither.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...weights.store import sha256
from ..network.network import Network
from .job import Job

# Chosen by two epochs on nine tenths of CIFAR-10's training images, measured on the others: ResNet-20, shares
# 0.25, 0.5 and 0.9 by rates 0.005, 0.01 and 0.02. (ResNet-56 knows those images by heart: they say little.)
SHARE = 0.5  # of the loss that is the teacher's
RATE = 0.01  # learning rate at the start


def gently(job: Job, network: Network, said: Collection[str]) -> tuple[Job, tuple[str, ...]]:
    """The settings for a compensated network, where nobody said others; any other network's as they are.

    Args:
        job: a finetuning.
        network: the one that it starts from.
        said: names of fields of `Job` and `TrainConfig` that are as somebody wants them.

    Returns:
        The job, and what is to be said of it.
    """
    step = network.history[-1] if network.history else {}
    options: Mapping[str, Any] = step.get("options") or {}
    if step.get("command") != "prune" or options.get("transfer") != "compensate":
        return job, ()
    notes: tuple[str, ...] = ()
    if "lr" not in said:
        job = replace(job, config=replace(job.training, lr=RATE))
    if "recalibration" not in said:
        job = replace(job, recalibration=0)
        notes = ("its weights were solved for the batch norms it has: these are not re-estimated",)
    teacher = _unchanged(options.get("base"), step.get("parent"))
    if teacher is not None and job.teacher is None and "distill_alpha" not in said:
        job = replace(job, teacher=teacher, config=replace(job.training, distill_alpha=SHARE))
        notes += (f"{teacher}, which it was cut from, teaches it; with `distill_alpha` 0 nobody does",)
    return job, notes


def _unchanged(path: Any, parent: Any) -> Path | None:
    """The file that a network was cut from, if it still lies where it lay and is the same."""
    if not isinstance(path, str) or not Path(path).is_file() or sha256(path) != parent:
        return None
    return Path(path)
