"""`prune evaluate`: accuracy, cost and latency of networks side by side."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as opt
from . import units
from .show import Format, Out

if TYPE_CHECKING:
    from ..engine.comparison import Measured


def command(
    files: opt.Files,
    arch: opt.Arch = None,
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    download: opt.Download = False,
    image_size: opt.ImageSize = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Time forward passes too, of 1 image and of 128.")
    ] = False,
    eval_batch_size: opt.EvalBatchSize = None,
    workers: opt.Workers = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure accuracy and latency of networks side by side.

    Top-1 and, from 10 classes up, top-5 on the test images: those a file was last measured on, unless
    --dataset or --data-dir say otherwise. Costs and speed-ups are relative to the first file.
    """
    show = Out(json, quiet)
    from ..engine.comparison import measure_networks
    from ..engine.network import load_network
    from ..engine.sources import Images
    from .common import start

    wanted = Images(dataset, data_dir, image_size, download, workers or 0)
    where = start(threads, device)
    size = (3, image_size, image_size) if image_size else None
    networks = {file: load_network(file, arch, input_size=size) for file in files}
    images = {file: wanted.open(network) for file, network in networks.items()}
    first = images[files[0]]
    show.note(f"images: {first.info.name}, {units.count(first.size('test'))} to test on")
    events = measure_networks(
        networks,
        images,
        batch_size=eval_batch_size or 256,
        device=where,
        latency=(1, 128) if latency else (),
    )
    measured: list[Measured] = show.progress(events)
    show.json([_facts(result, measured[0]) for result in measured])
    columns: dict[str, Format] = {
        "file": str,
        "top-1": units.accuracy,
        "top-5": units.accuracy,
        "MACs": units.large,
        "": str,
        "params": units.large,
        " ": str,
        "size": units.size,
    }
    rows = [_row(result, measured[0]) for result in measured]
    if latency:
        for timing in measured[0].latency:
            columns |= {
                f"batch {timing.batch_size}": str,
                f"x{' ' * timing.batch_size}".strip() + f" b{timing.batch_size}": str,
            }
        rows = [row + _timings(result) for row, result in zip(rows, measured, strict=True)]
    show.table(f"on {first.info.name}", columns, rows)


def _row(result: "Measured", base: "Measured") -> list[Any]:
    macs, params = (
        units.change(a, b)
        for a, b in ((result.cost.macs, base.cost.macs), (result.cost.params, base.cost.params))
    )
    top1, top5 = (result.accuracy.top1, result.accuracy.top5) if result.accuracy else (None, None)
    changes = [None, None] if result is base else [macs, params]
    return [
        str(result.path),
        top1,
        top5,
        result.cost.macs,
        changes[0],
        result.cost.params,
        changes[1],
        result.bytes,
    ]


def _timings(result: "Measured") -> list[str]:
    return [
        text for t in result.latency for text in (units.milliseconds(t.median_ms / 1e3), f"{t.speedup:.2f}x")
    ]


def _facts(result: "Measured", base: "Measured") -> dict[str, Any]:
    from .flops import cost_facts

    return {
        "path": result.path,
        "bytes": result.bytes,
        "accuracy": result.accuracy,
        "latency": result.latency,
        **cost_facts(result.arch, result.cost, base.cost),
    }
