"""Scores by the images of a data set, as the commands take them."""

from collections.abc import Generator

from torch import Tensor, nn

from .. import criteria
from ..data import ImageData
from ..devices import device_of
from ..events import Scored
from ..graph.trace import Trace
from ..processes import distributed


def scoring_on(
    data: ImageData | None,
    criterion: str,
    model: nn.Module,
    traced: Trace,
    *,
    batch_size: int,
    limit: int,
    seed: int,
) -> Generator[Scored, None, dict[str, Tensor]]:
    """Score every filter, by training images where the criterion looks at images; see `criteria.scoring`.

    Args:
        data: may be missing where the criterion looks at weights alone.
        batch_size: images per batch, over all processes.
        limit: batches to look at.
        seed: of the order of the images, and of the criteria that draw numbers.
    """
    if data is None or criteria.get(criterion).NEEDS == "weights":
        return criteria.score(criterion, model, traced, seed=seed)
    share, shard = distributed.share_of(batch_size), distributed.shard()
    device = device_of(model)
    batches = data.batches("train", share, device=device, shuffle_seed=seed, limit=limit, shard=shard)
    total = data.count_batches("train", share, limit=limit, shard=shard)
    return (yield from criteria.scoring(criterion, model, traced, batches=batches, total=total))
