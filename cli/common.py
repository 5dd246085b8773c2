"""What several commands do first: find the network, say which images are worked on."""

from dataclasses import replace
from pathlib import Path

from ..engine.data import ImageData
from ..engine.network.sources import Images, Source, find_network
from ..engine.network.widened import widened
from . import units
from .options import Reach
from .show import Out


def find(
    out: Out,
    file: Path | None,
    arch: str | None,
    images: Images,
    *,
    num_classes: int | None,
    reach: Reach,
    seed: int,
) -> Source:
    """Find the network and say which one it is."""
    source = find_network(file, arch, images, num_classes=num_classes, part=reach.part, seed=seed)
    network = widened(source.network, through_norms=reach.through_norms, head_dims=reach.head_dims)
    source = replace(source, network=network)
    if source.trained:
        out.note(f"weights: {source.weights}")
    elif not source.network.classifies:
        out.warning(f"using {source.weights}; name a file to prune a trained network")
    else:
        out.warning(
            f"no base run of {source.network.arch} on {images.name_for()} in runs/: using {source.weights}; "
            "train one with `prune train-base`, or name a file"
        )
    return source


def note_images(out: Out, data: ImageData) -> None:
    """Say which images are worked on."""
    size = units.shape(data.info.input_size)
    out.note(
        f"images: {data.info.name}, {units.count(data.size('train'))} to train on and "
        f"{units.count(data.size('test'))} to test on, {size}"
    )
    note_order(out, data)


def note_order(out: Out, *data: ImageData) -> None:
    """Say where labels were renumbered: a file and its images have their classes in another order."""
    if any(images.renumbered for images in data):
        out.note("classes are matched by name: images and file have them in another order")
