"""What a filter costs where all weights that stay make up for it, as estimated (Optimal Brain Surgeon)."""

from collections.abc import Generator, Iterable, Sequence

from torch import Tensor, nn

from ..compensation.measuring import sensitivities
from ..compensation.sensitivity import filter_losses
from ..events import Event
from ..graph.channels import ChannelMap, Group

NEEDS = "images"


def images_wanted(channel_map: ChannelMap, groups: Sequence[Group]) -> int:
    """More did not choose better filters."""
    return 512


def score_groups(
    model: nn.Module,
    channel_map: ChannelMap,
    groups: Sequence[Group],
    images: Iterable[Tensor],
    seed: int,
    measure: bool = False,
) -> Generator[Event, None, dict[str, Tensor]]:
    """Take the channels of every group out one by one, always the one whose loss is mended best.

    ZipLM, arXiv 2302.04089, section 3, for whole input channels of the layers behind; errors are weighted by
    the Fisher information of the layers' outputs, with labels drawn from the network's own answers, and so
    estimate the divergence of these. A score is the loss once the channel has left with all before it, so
    that scores compare across layers, and as losses of widths (`ranking` loss).

    Args:
        model: left as it is.
        channel_map: of it.
        groups: those that may be narrowed.
        images: batches images_NCHW.
        seed: of the labels.
        measure: measure what some widths cost, see `engine.compensation.measuring`.

    Returns:
        Per layer name, scores_F: nats per image.
    """
    found = yield from sensitivities(model, channel_map, groups, images, measure=measure, seed=seed)
    return filter_losses(channel_map, groups, found)
