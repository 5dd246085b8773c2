"""Random scores: the baseline every criterion has to beat."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.filters import scored_layers
from ..graph.trace import Trace

NEEDS = "weights"


def random_scores(filters: int, layer_name: str, seed: int) -> Tensor:
    """Draw one score per filter, the same for the same layer name and seed on every machine.

    Args:
        filters: how many scores.
        layer_name: so that layers do not share their draws, and do not depend on each other's widths.
        seed: any integer.

    Returns:
        scores_F, float64, uniform in [0, 1).
    """
    digest = hashlib.sha256(f"{seed}:{layer_name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
    return torch.from_numpy(generator.random(filters))


def score(model: nn.Module, trace: Trace, seed: int) -> dict[str, Tensor]:
    """Random scores for every layer's filters; see `random_scores`."""
    return {
        layer.name: random_scores(len(layer.out_ids), layer.name, seed) for layer in scored_layers(trace.map)
    }
