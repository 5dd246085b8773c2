"""`prune convert`: turn a weight file into another."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt
from .show import Out


def command(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Weight file: .hdf5, .pth or .safetensors.", show_default=False),
    ],
    destination: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DST]", help="File to write; its suffix says the format.", show_default=False
        ),
    ] = None,
    arch: opt.Arch = None,
    image_size: opt.ImageSize = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="STYLE",
            help="Name the tensors as akamaster or torchvision does.",
            show_default=False,
        ),
    ] = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Turn a weight file into another: fold, narrow or change its format.

    Without DST it does the obvious and says so: other formats become HDF5, HDF5 with filters that are zero
    throughout becomes narrow, any other HDF5 becomes a PyTorch state dict. Names of known checkpoints
    (akamaster's CIFAR ResNets, torchvision's ResNets) are translated and their archs recognised.
    """
    show = Out(json, quiet)
    from ..engine.conversion import convert
    from ..weights.formats import check_any, write_any

    if destination is not None:
        check_any(destination, force)
    size = (3, image_size, image_size) if image_size else None
    converted = convert(source, destination, arch=arch, input_size=size, style=names)
    write_any(converted.destination, converted.weight_file, force=force)
    show.json({"action": converted.action, "path": converted.destination, "meta": converted.weight_file.meta})
    show.note(converted.action)
    show.saved(converted.destination)
