"""What sketching every weight costs: ours, and row by row with a full decomposition, as published, in turns.

    python benchmarks/bench_sketch.py [FILE [KEEP_RATE]]

The weights are those that FilterSketch replaces: of a weight file, or else of a ResNet-56 and of a ResNet-50
with random weights; of every target the same share is kept, 0.6 unless said.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from prune.engine.algebra.frequent_directions import frequent_directions
from prune.engine.graph.trace import trace
from prune.engine.network.files import load_network
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.sketching.targets import targets
from torch import Tensor

ROUNDS = 3


def row_by_row(rows_ND: Tensor, kept: int) -> Tensor:
    """Algorithm 1 of arXiv 2001.08514, one row at a time, in float32 as the authors' code has it."""
    sketch_LD = torch.zeros(kept, rows_ND.shape[1])
    half, filled = kept // 2, 0
    for number, row_D in enumerate(rows_ND):
        if filled == kept:
            if len(rows_ND) - number < half:
                break
            vectors_DL, values_L, _ = torch.linalg.svd(sketch_LD.T, full_matrices=False)
            values_L = torch.nn.functional.pad(values_L, (0, kept - len(values_L)))
            vectors_DL = torch.nn.functional.pad(vectors_DL, (0, kept - vectors_DL.shape[1]))
            shrunk_L = (values_L**2 - values_L[half] ** 2).clamp_min(0).sqrt()
            sketch_LD, filled = torch.diag(shrunk_L) @ vectors_DL.T, half
        sketch_LD[filled] = row_D
        filled += 1
    return sketch_LD


WAYS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "prune, released": lambda rows_ND, kept: frequent_directions(rows_ND, kept, "released"),
    "prune, paper": lambda rows_ND, kept: frequent_directions(rows_ND, kept, "paper"),
    "row by row": row_by_row,
}


def matrices(network: Network) -> list[Tensor]:
    """rows_ND of every weight that is sketched: filters, then runs of what the next layer reads."""
    found, _ = targets(network.model, trace(network.model, network.input_size).map, network.block_of)
    state = network.model.state_dict()
    return [
        state[layer.weight].reshape(target.filters, -1)
        for target in found
        for layer in (target.maker, target.reader)
    ]


def measure(name: str, network: Network, share: float) -> None:
    """Print what each way costs on one network."""
    sketched = matrices(network)
    seconds: dict[str, list[float]] = defaultdict(list)
    made: dict[str, list[Tensor]] = {}
    for _ in range(ROUNDS):
        for way, sketch in WAYS.items():
            begin = time.perf_counter()
            found = [sketch(rows_ND, max(1, int(share * len(rows_ND)))) for rows_ND in sketched]
            seconds[way].append(time.perf_counter() - begin)
            made[way] = found
        for ours_LD, theirs_LD in zip(made["prune, released"], made["row by row"], strict=True):
            error_LD = ours_LD.abs().float() - theirs_LD.abs()  # singular directions have no sign
            assert error_LD.abs().max() <= 1e-3 * theirs_LD.abs().max(), "the sketches are not the same"
    print(f"{name}: {len(sketched)} weights, {share:g} kept, one thread, median of {ROUNDS} rounds")
    medians = {way: statistics.median(runs) for way, runs in seconds.items()}
    for way, median in medians.items():
        print(f"{way:16}  {median:7.3f} s  {medians['row by row'] / median:5.1f}x as fast as row by row")


def main() -> None:
    torch.set_num_threads(1)
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 0.6
    if len(sys.argv) > 1:
        measure(sys.argv[1], load_network(sys.argv[1]), share)
        return
    measure("resnet56", new_network("resnet56"), share)
    measure("resnet50", new_network("resnet50", input_size=64), share)


main()
