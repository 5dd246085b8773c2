"""`prune convert`: turn a weight file into another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from . import options as opt
from . import units
from .grouped import grouped
from .options.group import argument, option
from .show import Out

if TYPE_CHECKING:
    from ..engine.compactors.folding import Folded


@grouped
def command(
    source: Annotated[
        Path,
        argument("SRC", "Weight file, or torchvision:NAME for its official weights."),
        opt.Weights(),
    ],
    destination: Annotated[
        Path | None,
        argument("[DST]", "File to write; its suffix says the format."),
    ] = None,
    arch: opt.Arch = None,
    image_size: opt.ImageSize = None,
    names: Annotated[
        str | None,
        option(
            None,
            "--names",
            "STYLE",
            "Name the tensors as others do: akamaster, torchvision, hrank-vgg, fpgm-resnet, ...",
        ),
    ] = None,
    to: Annotated[
        str | None,
        option(
            None,
            "--to",
            "FORM",
            "deploy (everything folded), hdf5, pth or safetensors. Default: by DST's suffix.",
        ),
    ] = None,
    fold_bn: Annotated[
        bool, option(None, "--fold-bn", None, "Fold batch normalisation into the layers before it.")
    ] = False,
    residual: Annotated[
        Literal["coupled", "scatter"],
        option(
            None,
            "--residual",
            None,
            "Zero filters added into a stream leave: where everything added is zero, or always.",
        ),
    ] = "coupled",
    force: opt.Force = False,
    *,
    output: opt.Work,
) -> None:
    """Turn a weight file into another: fold, narrow or change its format.

    Without options it does the obvious and says so: compactors are folded, with BN, into a narrow network;
    filters that are zero throughout leave; other formats become HDF5, and any other HDF5 becomes a PyTorch
    state dict. Names of known checkpoints (torchvision's ResNets, akamaster's, and those of HRank, HRankPlus,
    FilterSketch and FPGM) are translated, their archs recognised and their widths kept.
    """
    show = output.show()
    from ..engine.conversion import convert
    from ..weights.formats import check_any, write_any

    if destination is not None:
        check_any(destination, force)
    converted = convert(
        source,
        destination,
        arch=arch,
        input_size=image_size,
        style=names,
        to=to,
        fold_bn=fold_bn,
        residual=residual,
    )
    write_any(converted.destination, converted.weight_file, force=force)
    show.json(
        {
            "action": converted.action,
            "path": converted.destination,
            "folded": _facts(converted.folded) if converted.folded else None,
            "meta": converted.weight_file.meta,
        }
    )
    show.note(converted.action)
    if converted.folded:
        _show_folded(show, converted.folded)
    show.saved(converted.destination)


def _facts(folded: "Folded") -> dict[str, object]:
    """What machines are told of a folding."""
    return {
        "bn": folded.folded,
        "compactors": folded.compactors,
        "widths": folded.widths,
        "macs": folded.macs,
        "params": folded.params,
        "error": folded.error,
        "cost": folded.cost,
        "notes": folded.notes,
    }


def _show_folded(show: Out, folded: "Folded") -> None:
    """Widths, proof and whatever was odd."""
    from ..engine.compactors.folding import NOTICEABLE

    if folded.widths:
        columns = {"layer": str, "before": units.count, "after": units.count}
        show.table("", columns, [(name, *widths) for name, widths in folded.widths.items()])
    for note in folded.notes:
        show.note(note)
    show.note(f"proven: with the dropped rows at zero, logits agree within {folded.error:.1e} of the largest")
    cost = f"dropping rows that are not quite zero costs {folded.cost:.1e} of the largest logit"
    if folded.cost > NOTICEABLE:
        show.warning(f"{cost}, more than {NOTICEABLE:.0e}: train longer, until the masked rows are gone")
    elif folded.widths:
        show.note(cost)
