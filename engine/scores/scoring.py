"""How a job scores filters: by a criterion, on images where that looks at some, or by saved scores."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .. import criteria
from ..data import ImageData
from ..devices import device_of
from ..events import Scored
from ..graph.trace import Trace
from ..processes import distributed


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What the scores of filters come from.

    Attributes:
        criterion: how filters are scored, unless `scores` are saved ones.
        scores: a score file, or a folder of `rank_conv*.npy`.
        limit: batches of images to look at.
    """

    criterion: str = "l1"
    scores: Path | None = None
    limit: int = 5

    @property
    def needs_images(self) -> bool:
        """Is there no score without images?

        Raises:
            CriterionError: there is no such criterion.
        """
        return self.scores is None and criteria.get(self.criterion).NEEDS == "images"


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
