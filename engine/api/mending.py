"""What stays makes up for what left."""

from collections.abc import Generator
from dataclasses import replace

from ..compensation.block_fitting import STEPS
from ..compensation.mending import mend
from ..errors import CriterionError
from ..events import Event
from ..narrowing.outcome import Outcome
from ..network.batches import Images, batches_of
from ..network.network import Network
from .keywords import named
from .networks import network_of
from .progress import seen_through


@named
def compensate(
    network: Network | Outcome,
    thin: Outcome,
    images: Images,
    *,
    limit: int | None = 4,
    batch_size: int = 128,
    fit_blocks: int = STEPS,
    seed: int = 0,
    progress: bool = False,
) -> Outcome:
    """Solve every layer of a narrow network again, so that it makes up for what it no longer reads.

    No labels: least squares, layer by layer, towards what the full network computes on the same images, and
    then some steps of fitting, block by block; see `engine.compensation`. A layer or a block that would get
    worse keeps its weights.

    Args:
        network: the full one; left as it is.
        thin: what `prune` made of it; its model changes.
        images: as `rank` takes them; labels are not looked at. 512 images, four batches of 128, do for most.
        limit: batches to look at; None for all.
        batch_size: of data sets and lone tensors.
        fit_blocks: steps for which every block of a network that takes images is then trained to do what it
            did before; 0 is none.
        seed: of the order of a data set.
        progress: show how far it is.

    Returns:
        `thin`, with what became of its layers in `.facts` and `.notes`.

    Raises:
        CriterionError: no images, or the full network is not there any more.
        DataError: images that do not go with the network.
    """
    full = network_of(network)
    if full.model is thin.network.model:
        raise CriterionError("the full network was narrowed in place; compensate before that, or keep a copy")
    batches = batches_of(images, full, limit=limit, batch_size=batch_size, seed=seed)
    seen = [images_NCHW for images_NCHW, _ in batches]
    if not seen:
        raise CriterionError("compensation looks at images, and there are none")

    def work() -> Generator[Event, None, Outcome]:
        narrow = thin.network.model
        mended = yield from mend(
            full.model, narrow, thin.map, thin.removed, seen, fit_blocks=fit_blocks, seed=seed
        )
        facts = {**thin.facts, "compensation": mended.facts}
        return replace(thin, facts=facts, notes=(*thin.notes, *mended.notes))

    return seen_through(work(), progress)
