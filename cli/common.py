"""What several commands do first: choose threads and device, find the network, open its images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import units
from .processes import launch, take_part
from .show import Out

if TYPE_CHECKING:
    import torch

    from ..engine.data import ImageData
    from ..engine.network.sources import Images, Source


def start(threads: int | None, device: str) -> "torch.device":
    """Set the number of CPU threads and find the device, for a command that runs in one process."""
    import torch

    from ..engine.devices import resolve_device
    from ..engine.errors import EngineError
    from ..engine.processes.distributed import launched

    if launched():
        raise EngineError("this command runs in one process; start it without torchrun")
    if threads:
        torch.set_num_threads(threads)
    return resolve_device(device)


def start_together(
    context: typer.Context, threads: int | None, device: str, nproc: int | None
) -> "torch.device":
    """As `start`, for a command that several processes can share; --nproc sees those through and leaves."""
    from ..engine.processes.distributed import launched

    if nproc is not None and nproc > 1 and not launched():
        raise typer.Exit(launch(context.obj, nproc))
    return take_part(device, threads)


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
    from ..engine.network.sources import find_network

    source = find_network(file, arch, images, num_classes=num_classes, seed=seed)
    if source.trained:
        out.note(f"weights: {source.weights}")
    else:
        out.warning(
            f"no base run of {source.network.arch} on {images.name_for()} in runs/: using {source.weights}; "
            "train one with `prune train-base`, or name a file"
        )
    return source


def images_of(options: dict[str, Any]) -> "Images":
    """The images that a command's local variables describe."""
    from ..engine.network.sources import Images

    described = (options[name] for name in ("dataset", "data_dir", "image_size", "download"))
    return Images(*described, workers=options["workers"] or 0)


def measurable(images: "Images", source: "Source") -> bool:
    """Does the user, or else the network, say on which images it can be measured?"""
    measured_on = (source.network.accuracy or {}).get("dataset")
    return bool(images.dataset or images.data_dir or measured_on)


def open_images(out: Out, images: "Images", source: "Source") -> "ImageData":
    """Open the images that go with a network and say which they are."""
    data = images.open(source.network)
    size = units.shape(data.info.input_size)
    out.note(
        f"images: {data.info.name}, {units.count(data.size('train'))} to train on and "
        f"{units.count(data.size('test'))} to test on, {size}"
    )
    return data
