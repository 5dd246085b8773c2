"""`prune evaluate`: accuracy, cost and latency of networks side by side."""

import math
from typing import TYPE_CHECKING, Annotated, Any

from . import options as opt
from . import units
from .costs import cost_facts
from .grouped import grouped
from .options.group import option
from .show import Format

if TYPE_CHECKING:
    from ..engine.measure.comparison import Measured

COLUMNS: dict[str, Format] = {
    "file": str,
    "top-1": units.accuracy,
    "top-5": units.accuracy,
    "MACs": units.large,
    "params": units.large,
    "size": units.size,
}
CHANGE_COLUMNS: dict[str, Format] = {
    "file": str,
    "top-1": units.points,
    "MACs": units.percent_change,
    "params": units.percent_change,
    "size": units.percent_change,
}
BATCH_SIZES = (1, 128)  # one answer soon, and many answers


@grouped
def command(
    files: opt.Files,
    arch: opt.Arch = None,
    *,
    images: opt.Images,
    latency: Annotated[
        bool, option(None, "--latency", None, "Time forward passes too, of 1 image and of 128.")
    ] = False,
    eval_batch_size: opt.EvalBatchSize = None,
    machine: opt.Machine,
    output: opt.Work,
) -> None:
    """Measure accuracy and latency of networks side by side.

    Top-1 and, from 10 classes up, top-5 on the test images: those the first file was last measured on, unless
    --dataset or --data-dir say otherwise. With several files, a second table holds them against the first.
    With --latency alone, images that are not there are done without.
    """
    show = output.show()
    from ..engine.errors import DataError
    from ..engine.measure.comparison import measure_networks
    from ..engine.network.sources import load_for
    from .common import note_order

    wanted = images.images()
    where = machine.start()
    networks = {file: load_for(wanted, file, arch) for file in files}
    try:
        opened = dict(zip(networks, wanted.open_for_all(list(networks.values())), strict=True))
    except DataError as error:
        if wanted.named or not latency:
            raise
        opened = {}
        show.note(f"accuracies are not measured: {error}")
    dataset = opened[files[0]].info.name if opened else None
    if opened:
        info, tested = opened[files[0]].info, opened[files[0]].size("test")
        show.note(f"images: {info.name}, {units.count(tested)} to test on, {units.shape(info.input_size)}")
    note_order(show, *opened.values())
    events = measure_networks(
        networks,
        opened,
        batch_size=eval_batch_size or 256,
        device=where,
        latency=BATCH_SIZES if latency else (),
    )
    measured: list[Measured] = show.progress(events)
    base, *others = measured
    show.json({"dataset": dataset, "networks": [_facts(result, base) for result in measured]})
    sizes = [timing.batch_size for timing in base.latency]
    columns = COLUMNS | {f"ms/{size}": units.milliseconds for size in sizes}
    title = [f"on {dataset}"] * bool(opened) + ["ms per batch"] * latency
    show.table(", ".join(title), columns, map(_row, measured))
    if others:
        columns = CHANGE_COLUMNS | {f"speed-up/{size}": units.times for size in sizes}
        rows = [_change_row(result, base) for result in others]
        show.table(f"against {base.path}", columns, rows)
    for result in measured:
        if result.accuracy is not None and not math.isfinite(result.accuracy.loss):
            show.warning(f"{result.path} answers with NaN or infinity; its accuracy means nothing")


def _row(result: "Measured") -> list[Any]:
    top1, top5 = (result.accuracy.top1, result.accuracy.top5) if result.accuracy else (None, None)
    milliseconds = [timing.median_ms for timing in result.latency]
    return [result.path, top1, top5, result.cost.macs, result.cost.params, result.bytes, *milliseconds]


def _change_row(result: "Measured", base: "Measured") -> list[Any]:
    """How a network differs from the base: points of accuracy, shares of costs, speed-ups."""
    costs = [(result.cost.macs, base.cost.macs), (result.cost.params, base.cost.params)]
    shares = [now / before - 1 for now, before in [*costs, (result.bytes, base.bytes)]]
    speedups = [timing.speedup for timing in result.latency]
    gained = result.accuracy.top1 - base.accuracy.top1 if result.accuracy and base.accuracy else None
    return [result.path, gained, *shares, *speedups]


def _facts(result: "Measured", base: "Measured") -> dict[str, Any]:
    return {
        "path": result.path,
        "bytes": result.bytes,
        "accuracy": result.accuracy,
        "latency": result.latency,
        **cost_facts(result.arch, result.cost, base.cost),
    }
