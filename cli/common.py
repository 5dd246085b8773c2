"""What several commands do first: choose threads and device, find the network, open its images."""

from pathlib import Path
from typing import TYPE_CHECKING

from .show import Out

if TYPE_CHECKING:
    import torch

    from ..engine.data import ImageData
    from ..engine.sources import Images, Source


def start(threads: int | None, device: str) -> "torch.device":
    """Set the number of CPU threads and find the device."""
    import torch

    from ..engine.devices import resolve_device

    if threads:
        torch.set_num_threads(threads)
    return resolve_device(device)


def find(
    out: Out,
    file: Path | None,
    arch: str | None,
    images: "Images",
    *,
    num_classes: int | None = None,
    seed: int = 0,
) -> "Source":
    """Find the network and say which one it is."""
    from ..engine.sources import find_network

    source = find_network(file, arch, images, num_classes=num_classes, seed=seed)
    if source.trained:
        out.note(f"weights: {source.weights}")
    else:
        out.warning(
            f"no base run of {source.network.arch} on {images.name_for()} in runs/: using {source.weights}; "
            "train one with `prune train-base`, or name a file"
        )
    return source


def open_images(out: Out, images: "Images", source: "Source") -> "ImageData":
    """Open the images that go with a network and say which they are."""
    data = images.open(source.network)
    size = "x".join(map(str, data.info.input_size))
    out.note(
        f"images: {data.info.name}, {data.size('train')} to train on and {data.size('test')} to test on, {size}"
    )
    return data
