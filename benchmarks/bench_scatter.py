"""What a scattered residual addition costs beside the plain one, in both memory formats, in turns.

    python benchmarks/bench_scatter.py [IMAGES]

The shapes are those of the additions in ResNet-56 and ResNet-50; branches have lost 40 % of their filters.
Last, a whole scattered ResNet-56 against itself with every scattered addition replaced by a plain one.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from prune.archs.units import Merge
from prune.engine.allocations.rate import Rate
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.fresh import new_network
from prune.engine.selection.selection import equal_scores
from torch import Tensor

SHAPES = ((16, 32), (32, 16), (64, 8), (256, 56), (512, 28), (1024, 14), (2048, 7))  # channels, height
ROUNDS = 15
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    torch.manual_seed(0)
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    print(f"{torch.get_num_threads()} threads, {images} images, torch {torch.__version__}")
    print(f"{'stream':>14} {'format':>14} {'forward':>9} {'+ backward':>11}   times the plain addition")
    for channels, height in SHAPES:
        for name, memory_format in FORMATS.items():
            stream = torch.randn(images, channels, height, height).to(memory_format=memory_format)
            kept = torch.randperm(channels)[: channels - int(0.4 * channels)].sort().values
            plain, scattered = Merge(), Merge()
            scattered.index = kept
            branch = stream[:, kept].contiguous(memory_format=memory_format)
            ratios = [
                _ratio(partial(step, plain, stream, stream), partial(step, scattered, stream, branch))
                for step in (_forward, _both)
            ]
            print(f"{channels:>8}x{height}x{height:<3} {name:>13} {ratios[0]:>9.2f} {ratios[1]:>11.2f}")

    print()
    for name, memory_format in FORMATS.items():
        print(f"{'resnet56':>14} {name:>14} {_whole_network(images, memory_format):>9.2f}")


def _whole_network(images: int, memory_format: torch.memory_format) -> float:
    network = new_network("resnet56")
    thin = prune_network(
        network,
        Rate(rate=0.4, residual="scatter"),
        equal_scores(trace(network.model, network.input_size).map),
    ).network
    images_NCHW = torch.randn(images, *network.input_size).to(memory_format=memory_format)
    model = thin.model.to(memory_format=memory_format)
    merges = [module for module in model.modules() if isinstance(module, Merge)]

    @torch.no_grad()
    def run(additions: Callable[[Merge], Callable[[Tensor, Tensor], Tensor]]) -> None:
        for merge in merges:
            merge.forward = additions(merge)
        model(images_NCHW)

    return _ratio(partial(run, _as_wide), partial(run, _as_it_is))


def _as_it_is(merge: Merge) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(Merge.forward, merge)


def _as_wide(merge: Merge) -> Callable[[Tensor, Tensor], Tensor]:
    """A plain addition of two full streams, for its time alone."""

    def add(stream_NCHW: Tensor, _: Tensor) -> Tensor:
        stream_NCHW = stream_NCHW if merge.expand is None else merge.expand(stream_NCHW)
        return stream_NCHW + stream_NCHW

    return add


def _forward(merge: Merge, stream_NCHW: Tensor, branch_NBHW: Tensor) -> None:
    with torch.no_grad():
        merge(stream_NCHW, branch_NBHW)


def _both(merge: Merge, stream_NCHW: Tensor, branch_NBHW: Tensor) -> None:
    leaves = [x.detach().requires_grad_() for x in (stream_NCHW, branch_NBHW)]
    merge(*leaves).backward(stream_NCHW)


def _ratio(plain: Callable[[], None], scattered: Callable[[], None]) -> float:
    """The median over rounds of how much longer the second takes, each round one after the other."""
    repeats = max(1, round(0.01 / _seconds(plain, 3)))
    return statistics.median(_seconds(scattered, repeats) / _seconds(plain, repeats) for _ in range(ROUNDS))


def _seconds(call: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
