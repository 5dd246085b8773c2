"""What pruning costs beside the scores: tracing, choosing half of the MACs, cutting, and both proofs.

Processor time of one thread, which a busy machine does not change.
"""

import time
from itertools import pairwise

import torch
from prune.engine.allocations.budget import Budget
from prune.engine.graph.trace import trace
from prune.engine.narrowing.narrowing import narrow_proven
from prune.engine.network.fresh import new_network
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.selection import equal_scores

ARCHS = ["resnet56", "torchvision:resnet50", "torchvision:densenet121", "torchvision:vgg16_bn"]


def main() -> None:
    torch.set_num_threads(1)
    print("seconds of processor time, one thread")
    print(f"{'arch':24}  {'trace':>6}  {'plan':>6}  {'cut and prove':>13}  {'in all':>6}")
    for arch in ARCHS:
        network = new_network(arch)
        moments = [time.process_time()]
        traced = trace(network.model, network.input_size)
        moments.append(time.process_time())
        selection = Budget(flops=0.5).select(Prunable(map=traced.map), equal_scores(traced.map))
        moments.append(time.process_time())
        narrow_proven(network.model, traced, network.input_size, lambda _, s=selection: s.removed)
        moments.append(time.process_time())
        tracing, planning, proving = (after - before for before, after in pairwise(moments))
        print(f"{arch:24}  {tracing:6.2f}  {planning:6.2f}  {proving:13.2f}  {moments[-1] - moments[0]:6.2f}")


main()
