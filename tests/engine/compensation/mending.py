"""Networks to mend: the adversaries of the contract, and how they are cut."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import mini_networks
import numpy as np
import torch
from prune.engine.compensation.compensate import compensate
from prune.engine.compensation.report import Report
from prune.engine.events import unwatched
from prune.engine.graph.channels import ChannelMap
from prune.engine.graph.residual import view
from prune.engine.graph.trace import trace
from prune.engine.narrowing.narrowing import Proven, narrow_proven
from prune.engine.selection.selection import prunable_groups
from torch import Tensor, nn

SIZE = mini_networks.SIZE


def images(count: int, size: tuple[int, ...], seed: int = 0) -> Tensor:
    """Smooth random images: neighbouring pixels go together, as in real ones."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, size[0], *(-(-side // 4) for side in size[1:]), generator=draw)
    fine = nn.functional.interpolate(coarse, size=size[1:], mode="bilinear")
    return fine + 0.3 * torch.randn(count, *size, generator=draw)


def share_of_channels(rate: float, residual: str = "internal") -> Callable[[ChannelMap], Iterable[int]]:
    """Chooses this share of every group's free channels, unevenly."""

    def choose(channel_map: ChannelMap) -> list[int]:
        rng = np.random.default_rng(7)
        removed: list[int] = []
        for group in prunable_groups(channel_map, residual):
            free = group.channels[group.free]
            count = min(int(rate * len(group.channels)), len(free), len(group.channels) - 1)
            removed += rng.choice(free, count, replace=False).tolist()
        return removed

    return choose


@dataclass
class Mended:
    """A network, what was cut out of it, and that again with compensation."""

    dense: nn.Module
    cut: Proven
    thin: nn.Module
    report: Report

    def errors(self, images_NCHW: Tensor) -> tuple[float, float]:
        """Mean squared error of the logits, as a share of their variance: sliced, and mended."""
        with torch.no_grad():
            wanted = self.dense(images_NCHW)
            scale = wanted.var(0).mean()
            found = (self.cut.model(images_NCHW), self.thin(images_NCHW))
        sliced, mended = (float((made - wanted).square().mean() / scale) for made in found)
        return sliced, mended


def mend(
    model: nn.Module,
    size: tuple[int, ...],
    calibration: Tensor,
    rate: float = 0.5,
    residual: str = "internal",
) -> Mended:
    """Cut a share of all groups, and compensate a copy."""
    seen = view(model, trace(model, size), size, residual)
    choose = share_of_channels(rate, residual)
    cut = narrow_proven(seen.model, seen.traced, size, choose, finish=seen.close)
    thin = copy.deepcopy(cut.model)
    report = unwatched(compensate(model, thin, cut.map, cut.removed, [calibration]))
    return Mended(model, cut, thin, report)
