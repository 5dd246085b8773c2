"""The mean matrix rank of each filter's feature map (Lin et al., CVPR 2020)."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..algebra.matrix_rank import feature_map_ranks
from ..errors import CriterionError
from ..graph.channels import ChannelMap
from ..graph.filters import narrowed_layers, scored_convolutions
from ..graph.trace import Tap, Trace
from ..modules.inputs import Call, answer

NEEDS = "images"


class _TapReader(TorchDispatchMode):
    """Sums the ranks of every tapped feature map while one batch runs.

    Counts the calls of each op as `engine.graph.taps` does, so that a tap names one output of the pass. Ranks
    are taken on the spot: a later in-place op may overwrite the output.
    """

    def __init__(self, taps: Mapping[str, Tap]):
        super().__init__()
        self._layers_at: dict[tuple[str, int], list[str]] = defaultdict(list)
        for name, tap in taps.items():
            self._layers_at[tap.op, tap.occurrence].append(name)
        self._taps = taps
        self._calls: Counter[str] = Counter()
        self.rank_sums: dict[str, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        op = _tap_name(func)
        layers = self._layers_at.get((op, self._calls[op]), ())
        self._calls[op] += 1
        for name in layers:
            maps = output[0] if isinstance(output, tuple) else output
            self.rank_sums[name] = _rank_sums(name, maps, self._taps[name])
        return output


def _tap_name(func: Callable[..., Any]) -> str:
    """The name under which taps count an ATen op: in-place or not, whichever batch normalisation runs."""
    name = func.overloadpacket.__name__.rstrip("_")  # pyright: ignore[reportFunctionMemberAccess]
    return "batch_norm" if "batch_norm" in name else name


def _rank_sums(name: str, maps: Tensor, tap: Tap) -> Tensor:
    """The ranks of one layer's feature maps, summed over the batch."""
    if maps.dim() != 4 or maps.shape[1] <= max(tap.positions):
        raise CriterionError(
            f"the feature maps of '{name}' have shape {tuple(maps.shape)}, not (images, channels, height, "
            f"width) with at least {max(tap.positions) + 1} channels; hrank cannot rank them"
        )
    positions = torch.as_tensor(tap.positions, device=maps.device)
    maps_NFHW = maps.detach().index_select(1, positions)
    if not maps_NFHW.isfinite().all():
        raise CriterionError(f"the feature maps of '{name}' are not finite: check the weights and the images")
    return feature_map_ranks(maps_NFHW).sum(0).cpu()


def passed_over(channel_map: ChannelMap) -> list[str]:
    """The linear layers: what they make are no maps."""
    return [layer.name for layer in narrowed_layers(channel_map) if layer.kind == "linear"]


@torch.no_grad()  # not inference mode: it hides the decomposition of composite ops, and with it some taps
def score_sums(
    model: nn.Module, trace: Trace, images_NCHW: Tensor | Call, labels_N: Any
) -> dict[str, Tensor]:
    """Score each filter by the matrix rank of its feature map, summed over a batch of images.

    Lin et al., CVPR 2020, arXiv 2002.10179, Eq. 5; the feature map is the first activation that carries the
    filter.

    Departs from the authors' code: one forward pass serves all layers, not one pass per layer.

    Raises:
        CriterionError: maps that are not finite, or a pass that differs from the traced one.
    """
    taps = {layer.name: trace.taps[layer.name] for layer in scored_convolutions(trace.map)}
    with _TapReader(taps) as reader:
        answer(model, images_NCHW)
    missed = taps.keys() - reader.rank_sums.keys()
    if missed:
        raise CriterionError(
            f"the feature maps of {', '.join(sorted(missed))} did not occur in the forward pass as traced; "
            "does the network run different code on each call?"
        )
    return {name: reader.rank_sums[name] for name in taps}
