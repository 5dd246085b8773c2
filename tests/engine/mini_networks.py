"""Adversarial mini-networks by name: each does one thing that breaks pruning tools, or combines a few."""

import mini_between
import mini_branches
import mini_cuts
import mini_mixing
import mini_moves
import mini_norms
import mini_sequences
import mini_sums
import mini_weights
import torch
from mini_base import Mini
from torch import nn

SIZE = (3, 16, 16)

FAMILIES = (
    mini_between,
    mini_cuts,
    mini_branches,
    mini_weights,
    mini_mixing,
    mini_norms,
    mini_moves,
    mini_sums,
    mini_sequences,
)
NAMED: dict[str, type[Mini]] = {
    found.__name__: found
    for family in FAMILIES
    for found in vars(family).values()
    if isinstance(found, type) and issubclass(found, Mini) and found is not Mini
}


def build(name: str) -> Mini:
    """The network called `name`, norms' affine parts and statistics randomised: wrong indices show."""
    torch.manual_seed(sum(map(ord, name)))
    network = NAMED[name]()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
            for name, statistics in module.named_buffers(recurse=False):
                if name == "running_mean":
                    statistics.uniform_(-0.3, 0.3)
                elif name == "running_var":
                    statistics.uniform_(0.5, 1.5)
    return network.eval()


def __getattr__(attribute: str):
    """`make_NAME`: a factory as users write it in `module:factory`."""
    if attribute.startswith("make_"):
        return lambda: build(attribute.removeprefix("make_"))
    raise AttributeError(attribute)
