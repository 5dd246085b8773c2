"""What it costs to narrow each group, and the scores of filters that follow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..graph.channels import ChannelMap, Group


@dataclass(frozen=True)
class Sensitivity:
    """What it costs to narrow one group, all others whole.

    Attributes:
        group: its name.
        order: channel ids, first to leave first.
        errors: estimate of twice the KL divergence after each has left.
        measured: channels gone -> KL divergence of the logits from the whole network's, nats per image; empty
            where only estimates are wanted.
    """

    group: str
    order: tuple[int, ...]
    errors: tuple[float, ...]
    measured: Mapping[int, float]

    def losses(self) -> NDArray[np.float64]:
        """Loss with 0, 1, 2, ... channels gone, never falling.

        Between what was measured, it goes with the elimination's error; beyond, in proportion to it.
        """
        errors_K = np.concatenate([[0.0], np.array(self.errors, dtype=np.float64)])
        if not self.measured:
            return errors_K / 2
        counts = sorted(self.measured)
        at = np.concatenate([[0.0], errors_K[counts]])
        losses = np.maximum.accumulate(np.concatenate([[0.0], [self.measured[k] for k in counts]]))
        inside = np.interp(errors_K, at, losses)
        beyond = losses[-1] * errors_K / max(at[-1], 1e-300)
        return np.maximum.accumulate(np.where(errors_K > at[-1], beyond, inside))


def filter_losses(
    channel_map: ChannelMap, groups: Iterable[Group], found: Iterable[Sensitivity]
) -> dict[str, Tensor]:
    """Scores: what the network loses when a filter's channel leaves with all that leave earlier.

    Scores of different groups compare, and within a group their order is the elimination's, also in float32.
    What never left scores twice the last one.

    Args:
        channel_map: of the network.
        groups: those whose filters are scored.
        found: of each of them.

    Returns:
        Per convolution name, scores_F; nats per image.
    """
    worth: dict[int, float] = {}
    producers: dict[str, None] = {}
    for group, one in zip(groups, found, strict=True):
        producers |= dict.fromkeys(group.producers)
        at = np.float32(0)
        for channel, loss in zip(one.order, one.losses()[1:], strict=True):
            at = max(np.float32(loss), np.nextafter(at, np.float32(np.inf)))
            worth[channel] = float(at)
        left = max(2 * float(at), 1e-30)
        worth |= {int(channel): left for channel in group.channels if int(channel) not in worth}
    return {
        name: torch.tensor([worth.get(int(i), 0.0) for i in channel_map.layer(name).out_ids]).double()
        for name in producers
    }
