"""ResNets whose streams may have unequal widths: what is asked of them, and what came of it."""

from typing import Any

import torch
from prune.engine import criteria
from prune.engine.allocations import required
from prune.engine.graph.trace import trace
from prune.engine.narrowing.outcome import Outcome
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from torch import nn

STEM, STAGE1, STAGE2, STAGE3 = "stage1.conv1.conv", *(f"stage{s}.block0.conv2.conv" for s in (1, 2, 3))
CROPS = "stage1.block0.shortcut.index"

ARCH = "small_networks:resnet8"

# Shares kept of the stem, and of the streams of the stages; everything inside blocks keeps half.
WIDTHS = {
    "cropped at once": (1.0, 0.82, 0.82, 1.0),
    "cropped at every stage": (1.0, 0.5, 0.25, 0.1),
    "padded at once": (0.5, 1.0, 1.0, 1.0),
    "one channel before": (0.07, 1.0, 0.5, 1.0),
    "one channel behind": (1.0, 0.07, 1.0, 1.0),
}


def keep_rate(stem: float, *streams: float, blocks: int = 1) -> str:
    return f"[{stem}]" + "".join(f"+[0.5]+[{stream}]" * blocks for stream in streams)


def randomised(arch: str) -> Network:
    network = new_network(arch, num_classes=10, input_size=(3, 32, 32))
    draw = torch.Generator().manual_seed(3)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=draw)
            module.bias.data.uniform_(-0.3, 0.3, generator=draw)
            module.running_mean.uniform_(-0.3, 0.3, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
    network.model.eval()
    return network


def pruned(network: Network, residual: str = "coupled", **settings: Any) -> Outcome:
    scores = criteria.score("l1", network.model, trace(network.model, network.input_size))
    return prune_network(network, required({"residual": residual, **settings}), scores)


def indices(model: nn.Module) -> dict[str, list[int]]:
    return {name: t.tolist() for name, t in model.state_dict().items() if name.endswith(".index")}
