"""What the ranks of feature maps cost: ours, torch's on a batch, and torch's map by map, in turns.

    python benchmarks/bench_rank.py [FILE [DATA_DIR]]

The maps are those behind every ReLU of a network: of a weight file on its own images, or else of a ResNet-56
with random weights on digits.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from prune.engine.algebra.matrix_rank import feature_map_ranks
from prune.engine.network.files import load_network
from prune.engine.network.fresh import new_network
from prune.engine.network.sources import Images
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

IMAGES = 16
ROUNDS = 3


class ReluMaps(TorchDispatchMode):
    """Keeps what every ReLU makes."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__.rstrip("_") == "relu" and output.dim() == 4:
            self.maps.append(output.clone())
        return output


def by_map(maps_NCHW: Tensor) -> Tensor:
    """The ranks, one call per map, as the authors' code counts them."""
    return torch.stack(
        [torch.stack([torch.linalg.matrix_rank(map_HW) for map_HW in image]) for image in maps_NCHW]
    )


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "prune": feature_map_ranks,
    "matrix_rank, batched": torch.linalg.matrix_rank,
    "matrix_rank, map by map": by_map,
}


def relu_maps(file: str | None = None, data_dir: str | None = None) -> list[Tensor]:
    """maps_NCHW of every ReLU, in forward order."""
    if file is None:
        network = new_network("resnet56", input_size=16)
        data = Images("digits").open(network)
    else:
        network = load_network(file)
        data = Images(data_dir=Path(data_dir) if data_dir else None).open(network)
    images_NCHW, _ = next(data.batches("test", IMAGES))
    with torch.no_grad(), ReluMaps() as recorder:
        network.model.eval()(images_NCHW)
    return recorder.maps


def main() -> None:
    torch.set_num_threads(1)
    maps = relu_maps(*sys.argv[1:])
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        ranks = {}
        for name, rank in WAYS.items():
            begin = time.perf_counter()
            ranks[name] = [rank(maps_NCHW) for maps_NCHW in maps]
            seconds[name].append(time.perf_counter() - begin)
        for name, found in ranks.items():
            assert all(map(torch.equal, found, ranks["prune"])), f"{name} finds other ranks"
    count = sum(maps_NCHW.shape[0] * maps_NCHW.shape[1] for maps_NCHW in maps)
    print(f"ranks of {count:,} feature maps, {IMAGES} images, one thread, median of {ROUNDS} rounds")
    ours = statistics.median(seconds["prune"])
    for name, runs in seconds.items():
        median = statistics.median(runs)
        print(f"{name:24}  {median:7.2f} s  {1e6 * median / count:6.1f} us per map  {median / ours:5.1f}x")


main()
