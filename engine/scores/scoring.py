"""How a job scores filters: by a criterion, on images where that looks at some, or by saved scores."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .. import criteria
from ..data import ImageData
from ..data.some import some_images
from ..devices import device_of
from ..events import Event
from ..graph.channels import Group
from ..graph.trace import Trace
from ..processes import distributed

BATCHES = 5  # that criteria whose scores are means look at, if nobody says how many


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What the scores of filters come from.

    Attributes:
        criterion: how filters are scored, unless `scores` are saved ones.
        scores: a score file, or a folder of `rank_conv*.npy`.
        limit: batches of images to look at; None is as many as the criterion wants.
    """

    criterion: str = "l1"
    scores: Path | None = None
    limit: int | None = None

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
    limit: int | None,
    seed: int,
    groups: Sequence[Group] | None = None,
) -> Generator[Event, None, dict[str, Tensor]]:
    """Score every filter, by training images where the criterion looks at images; see `criteria.scoring`.

    Args:
        data: may be missing where the criterion looks at weights alone.
        batch_size: images per batch, over all processes.
        limit: batches to look at; None is as many as the criterion wants.
        seed: of the order of the images, and of the criteria that draw numbers.
        groups: see `criteria.scoring`.
    """
    how = criteria.get(criterion)
    if data is None or how.NEEDS == "weights":
        return criteria.score(criterion, model, traced, seed=seed)
    device = device_of(model)
    if isinstance(how, criteria.OfGroups):
        groups = criteria.scored_groups(traced.map) if groups is None else groups
        wanted = how.images_wanted(traced.map, groups) if limit is None else limit * batch_size
        images = some_images(data, wanted, batch_size=batch_size, device=device, seed=seed)
        return (yield from criteria.scoring_groups(criterion, model, traced.map, groups, images, seed=seed))
    share, shard, limit = distributed.share_of(batch_size), distributed.shard(), limit or BATCHES
    batches = data.batches("train", share, device=device, shuffle_seed=seed, limit=limit, shard=shard)
    total = data.count_batches("train", share, limit=limit, shard=shard)
    return (yield from criteria.scoring(criterion, model, traced, batches=batches, total=total))
