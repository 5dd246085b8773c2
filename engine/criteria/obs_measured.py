"""As `obs`, but what a quarter, a half and more of a layer cost is measured, by the answers' divergence."""

from collections.abc import Generator, Iterable, Sequence

from torch import Tensor, nn

from ..compensation.measuring import work
from ..events import Event
from ..graph.channels import ChannelMap, Group
from . import obs

NEEDS = "images"
FEWEST, MOST = 192, 512  # images
ENOUGH = 1e12  # multiply-accumulates, some ten seconds of a processor core; small networks get more images


def images_wanted(channel_map: ChannelMap, groups: Sequence[Group]) -> int:
    """As many as are measured soon, within bounds."""
    return int(min(MOST, max(FEWEST, ENOUGH / max(1, work(channel_map, groups, 1)))))


def score_groups(
    model: nn.Module, channel_map: ChannelMap, groups: Sequence[Group], images: Iterable[Tensor], seed: int
) -> Generator[Event, None, dict[str, Tensor]]:
    """Score filters by the order of `obs` and the measured losses of widths.

    SPDY, arXiv 2201.13096, section 3, measures layers so; with the divergence of the logits in place of an
    error.

    Args:
        model, channel_map, groups, images, seed: see `obs.score_groups`.

    Returns:
        Per layer name, scores_F: nats per image.
    """
    return (yield from obs.score_groups(model, channel_map, groups, images, seed, measure=True))
