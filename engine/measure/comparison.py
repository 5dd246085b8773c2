"""Networks side by side: accuracy, cost, size and speed of several files."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data import ImageData
from ..events import Accuracy, Event, Note
from ..graph.cost import Cost, count
from ..graph.trace import trace
from ..network.network import Network
from .evaluation import evaluating
from .latency import Latency, measure


@dataclass(frozen=True, eq=False)
class Measured:
    """One network: what it can do, if that was measured, and what it costs; `latency`: one per batch size."""

    path: Path
    arch: str
    accuracy: Accuracy | None
    cost: Cost
    bytes: int
    latency: Sequence[Latency] = ()


def measure_networks(
    networks: Mapping[Path, Network],
    images: Mapping[Path, ImageData],
    *,
    batch_size: int,
    device: torch.device,
    latency: Sequence[int] = (),
) -> Generator[Event, None, list[Measured]]:
    """Measure networks one after the other, their latency in turns.

    Args:
        networks: by the file they come from; the first is the base that speed-ups are relative to.
        images: per file, what to test it on; empty where no accuracy is wanted.
        latency: batch sizes to time; none for no timing.
    """
    results: dict[Path, Measured] = {}
    for path, network in networks.items():
        model = network.model.to(device)
        accuracy = None
        if path in images:
            accuracy = yield from evaluating(model, images[path], batch_size=batch_size, device=device)
        cost = count(trace(model, network.takes).map)
        results[path] = Measured(path, network.arch, accuracy, cost, path.stat().st_size)
    if latency:
        models = {str(path): network.model for path, network in networks.items()}
        size = next(iter(networks.values())).input_size
        yield Note(f"timing forward passes of {' and '.join(map(str, latency))} images")
        timed = measure(models, size, batch_sizes=tuple(latency), device=device)
        results = {path: replace(result, latency=timed[str(path)]) for path, result in results.items()}
    return list(results.values())
