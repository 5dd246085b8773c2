"""Layers as affine maps, with the batch normalisation behind them; read from a network and written back.

A solved map W^T a + b is stored in what the network has: the weight, the normalisation's affine part and
statistics, or the layer's own bias. No tensor is added and none changes its shape.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .program import Call, Norm
from .unfolding import as_matrix, as_weight

_DEAD = 1e-12  # a normalisation that multiplies by less passes nothing on


@dataclass(frozen=True, eq=False)
class Affine:
    """A map W^T a + b; weight (G, D, O), intercept (G, O); without one the layer has nowhere to keep one."""

    weight: Tensor
    intercept: Tensor | None


class Layer:
    """One layer of a network and the batch normalisation behind it, if there is one."""

    def __init__(self, model: nn.Module, call: Call, norm: Norm | None):
        """`call` and `norm` are of the program of `model`."""
        self.call = call
        self._weight = _tensor(model, call.weight)
        self._bias = None if call.bias is None else _tensor(model, call.bias)
        self._norm = None if norm is None else Normalisation(model, norm)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Extents of the kernel; empty for a linear layer."""
        return tuple(self._weight.shape[2:])

    def read(self) -> Affine:
        """The map as the network has it, float64."""
        weight_GDO = as_matrix(self.call, self._weight.double())
        bias_O = None if self._bias is None else self._bias.double()
        if self._norm is not None:
            scale_O, shift_O = self._norm.read()
            weight_GDO = weight_GDO * self._grouped(scale_O)[:, None]
            bias_O = shift_O if bias_O is None else shift_O + scale_O * bias_O
        return Affine(weight_GDO, None if bias_O is None else self._grouped(bias_O))

    def write(self, fitted: Affine, mean_GO: Tensor, variance_GO: Tensor) -> None:
        """Store a map; the normalisation's statistics become those that it sees from now on.

        Training on from there starts from the function that evaluation computes.

        Args:
            fitted: the map.
            mean_GO, variance_GO: of W^T a.
        """
        weight_GDO = self.stored(fitted).weight
        if self._norm is not None:
            assert fitted.intercept is not None
            scale_O = self._norm.usable_scale()
            bias_O = torch.zeros_like(scale_O) if self._bias is None else self._bias.double()
            mean_O = mean_GO.flatten() / scale_O + bias_O
            variance_O = variance_GO.flatten() / scale_O.square()
            self._norm.write(scale_O, fitted.intercept.flatten() - scale_O * bias_O, mean_O, variance_O)
        elif fitted.intercept is not None:
            assert self._bias is not None
            self._bias.copy_(fitted.intercept.flatten())
        self._weight.copy_(as_weight(self.call, weight_GDO, self._weight.shape))

    def stored(self, map_: Affine) -> Affine:
        """The map as the weight alone has it, what the normalisation multiplies by taken out."""
        if self._norm is None:
            return map_
        scale_O = self._norm.usable_scale()
        return Affine(map_.weight / self._grouped(scale_O)[:, None], map_.intercept)

    def linear_part(self, made_NO: Tensor) -> Tensor:
        """W^T a, where the layer made `made_NO` out of a."""
        axis = made_NO.dim() - 1 if self.call.kind == "linear" else 1
        per_output = [-1 if i == axis else 1 for i in range(made_NO.dim())]
        bias_NO = 0 if self._bias is None else self._bias.reshape(per_output)
        scale_O = torch.ones(made_NO.shape[axis]).to(made_NO) if self._norm is None else self._norm.read()[0]
        return (made_NO - bias_NO) * scale_O.reshape(per_output).to(made_NO)

    def _grouped(self, values_O: Tensor) -> Tensor:
        return values_O.reshape(self.call.groups, -1)


class Normalisation:
    """A batch normalisation in evaluation: y = scale x + shift, channel by channel."""

    def __init__(self, model: nn.Module, norm: Norm):
        """`norm` is of the program of `model`."""
        self._eps = norm.eps
        self._mean_C, self._variance_C = (
            _tensor(model, f"{norm.name}.{slot}") for slot in ("running_mean", "running_var")
        )
        affine = model.get_submodule(norm.name).weight is not None
        self._gamma_C = _tensor(model, f"{norm.name}.weight") if affine else None
        self._beta_C = _tensor(model, f"{norm.name}.bias") if affine else None

    @property
    def has_affine(self) -> bool:
        """Can the scale be changed without the statistics?"""
        return self._gamma_C is not None

    def read(self) -> tuple[Tensor, Tensor]:
        """scale_C and shift_C, float64."""
        scale_C = 1 / (self._variance_C.double() + self._eps).sqrt()
        shift_C = torch.zeros_like(scale_C)
        if self._gamma_C is not None and self._beta_C is not None:
            scale_C, shift_C = scale_C * self._gamma_C.double(), self._beta_C.double()
        return scale_C, shift_C - scale_C * self._mean_C.double()

    def usable_scale(self) -> Tensor:
        """scale_C, and one over the deviation where a channel is multiplied by nothing."""
        scale_C, _ = self.read()
        plain_C = 1 / (self._variance_C.double() + self._eps).sqrt()
        return torch.where(scale_C.abs() > _DEAD, scale_C, plain_C)

    def write(self, scale_C: Tensor, shift_C: Tensor, mean_C: Tensor, variance_C: Tensor) -> None:
        """Be scale x + shift; the statistics given are taken over where there is an affine part."""
        if self._gamma_C is None or self._beta_C is None:
            self._mean_C.copy_(-shift_C / scale_C)
            return
        # The map is worked out from the statistics as they are stored, rounded.
        self._mean_C.copy_(mean_C)
        self._variance_C.copy_(variance_C)
        self._gamma_C.copy_(scale_C * (self._variance_C.double() + self._eps).sqrt())
        self._beta_C.copy_(shift_C + scale_C * self._mean_C.double())


def _tensor(model: nn.Module, name: str) -> Tensor:
    """The numbers of a parameter or buffer, which share its memory and ask for no gradient."""
    owner, _, slot = name.rpartition(".")
    return getattr(model.get_submodule(owner), slot).detach()
