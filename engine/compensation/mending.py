"""Everything that is done to what stays of a network so that it makes up for what left."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from ..events import Event
from ..graph.channels import ChannelMap
from .block_fitting import fit_blocks as fitting_blocks
from .compensate import compensate
from .pairing import exported
from .streams import Batch, equal_batches


@dataclass(frozen=True)
class Mended:
    """What became of the layers of a narrow network, as numbers and as notes for the user."""

    facts: dict[str, int]
    notes: tuple[str, ...]


def mend(
    full: nn.Module,
    thin: nn.Module,
    channel_map: ChannelMap,
    removed: Iterable[int],
    images: Iterable[Batch],
    *,
    fit_blocks: int,
    seed: int = 0,
) -> Generator[Event, None, Mended]:
    """Solve every layer whose inputs have changed, then fit blocks, in place.

    Args:
        full: the network that `thin` was cut from; left as it is.
        thin: it changes.
        channel_map: of the full network as it was pruned.
        removed: channel ids that left.
        images: batches on the networks' device.
        fit_blocks: steps for every block of a network that takes images; 0 is none.
        seed: of the order of the images there.

    Raises:
        TraceError: one of the networks cannot be followed.
    """
    seen, removed = list(images), frozenset(removed)
    programs = exported(full, thin, equal_batches(seen)[0])
    report = yield from compensate(full, thin, channel_map, removed, seen, programs=programs)
    refitted = [layer for layer in report.layers if layer.form != "left"]
    facts = {
        "compensated_layers": len(refitted),
        "left_layers": len(report.layers) - len(refitted),
        "images": report.images,
    }
    images_NCHW = [one for one in seen if isinstance(one, Tensor) and one.dim() > 2]
    if fit_blocks and images_NCHW:
        blocks = yield from fitting_blocks(
            full, thin, channel_map, removed, images_NCHW, steps=fit_blocks, seed=seed, programs=programs
        )
        facts["fitted_blocks"] = sum(block.after < block.before for block in blocks)
    return Mended(facts, report.notes)
