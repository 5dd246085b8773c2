"""What a network is called with: images of one size, or any tree of tensors and plain values."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import FitError

BATCH = 2  # one image is special to some networks and to torch.export
SMALLEST_SIDE = 48  # of images that exercise every op: five halvings leave more than one pixel
_LARGEST = 2**28  # numbers in one tensor that a file may ask for

_KINDS = {
    str(kind).removeprefix("torch."): kind for kind in (torch.int64, torch.int32, torch.uint8, torch.bool)
}
_KINDS |= {"complex64": torch.complex64, "float": torch.float32}


@dataclass(frozen=True)
class TensorLike:
    """A tensor by its looks.

    Attributes:
        shape: with the batch axis, if it has one.
        kind: "float" is whatever type the network's weights are of; or int64, int32, uint8, bool, complex64.
        low, high: the least and the greatest of its numbers; of floats that are all alike, whatever they are.
    """

    shape: tuple[int, ...]
    kind: str = "float"
    low: float = 0.0
    high: float = 0.0

    def make(self, like: Tensor, draws: torch.Generator | None = None) -> Tensor:
        """A tensor of these looks, in the place and of the type of a weight; random, or all `low`."""
        kind = like.dtype if self.kind == "float" and like.is_floating_point() else _KINDS[self.kind]
        if draws is None:
            return torch.full(self.shape, self.low, dtype=kind, device=like.device)
        if kind.is_floating_point or kind.is_complex:
            drawn = torch.rand if self.low < self.high else torch.randn
            scale, shift = (self.high - self.low, self.low) if self.low < self.high else (1.0, 0.0)
            made = drawn(self.shape, generator=draws, dtype=torch.float64) * scale + shift
        else:
            made = torch.randint(int(self.low), int(self.high) + 1, self.shape, generator=draws)
        return made.to(dtype=kind, device=like.device)


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call of a network; `len` is how many samples are in it."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    samples: int

    def __len__(self) -> int:
        return self.samples

    def to(self, like: Tensor) -> "Call":
        """The same in the place of a weight, floats of its type."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(like) if tensor.is_floating_point() else tensor.to(like.device)

        args, kwargs = pytree.tree_map_only(Tensor, moved, (self.args, dict(self.kwargs)))
        return Call(args, kwargs, self.samples)


def answer(model: nn.Module, given: Tensor | Call) -> Any:
    """What a network returns for images_NCHW, or for other arguments."""
    return model(*given.args, **given.kwargs) if isinstance(given, Call) else model(given)


def given_tensors(given: Tensor | Call) -> list[Tensor]:
    """The tensors that a network is called with, in order."""
    return [given] if isinstance(given, Tensor) else tensors_of((given.args, dict(given.kwargs)))


def content_of(given: Tensor | Call) -> Tensor:
    """What tells the samples of a batch apart: images_NCHW, or the first numbers among other arguments."""
    tensors = given_tensors(given)
    return next((tensor for tensor in tensors if tensor.is_floating_point()), tensors[0])


def inputs_like(given: Tensor | Call) -> "Inputs":
    """The looks of a batch of images, or of another call, with exactly as many samples."""
    if isinstance(given, Call):
        return Inputs.like(given.args, given.kwargs)
    return Inputs.of_images(given.shape[1:]).with_batch(len(given))


def tensors_of(returned: Any) -> list[Tensor]:
    """Every tensor in what a network returns, in order."""
    leaves = pytree.tree_leaves(returned)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


@dataclass(frozen=True)
class Inputs:
    """The looks of everything that a network is called with.

    Attributes:
        args: trees (tuples, lists, dictionaries) of `TensorLike` and plain values.
        kwargs: by keyword, the same.
        batch: the first extent of every tensor that has axes, where they share one: the samples of a call.
        images: whether it is one batch of images, whose size may be made smaller where that saves time.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    images: bool = False

    @classmethod
    def of_images(cls, size: Sequence[int]) -> "Inputs":
        """Batches of images of `size` (C, H, W), or (C, T, H, W)."""
        return cls((TensorLike((BATCH, *size)),), batch=BATCH, images=True)

    @classmethod
    def like(cls, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> "Inputs":
        """The looks of the arguments of a call."""
        looked = pytree.tree_map_only(Tensor, _looks, (tuple(args), dict(kwargs or {})))
        extents = {like.shape[0] for like in _leaves(looked) if like.shape}
        return cls(*looked, batch=extents.pop() if len(extents) == 1 else 1)

    def with_batch(self, batch: int) -> "Inputs":
        """The same for calls of another number of samples."""

        def grown(like: TensorLike) -> TensorLike:
            return (
                TensorLike((batch, *like.shape[1:]), like.kind, like.low, like.high) if like.shape else like
            )

        args, kwargs = _mapped(grown, (self.args, dict(self.kwargs)))
        return Inputs(args, kwargs, batch, self.images)

    def single(self) -> "Inputs":
        """One image; of calls of anything else, as many samples as ever."""
        return self.with_batch(1) if self.images else self

    def smaller(self) -> "Inputs":
        """Images halved as long as all sides stay large enough for kernels to reach around their middle."""
        if not self.images:
            return self
        batch, channels, *sides = self.args[0].shape
        while sides and min(sides[-2:]) // 2 >= SMALLEST_SIDE:
            sides = [*sides[:-2], *(side // 2 for side in sides[-2:])]
        return Inputs.of_images((channels, *sides)).with_batch(batch)

    def larger(self) -> "Inputs":
        """Images of twice the height and width: some parts of networks do not run on small ones."""
        if not self.images:
            return self
        batch, channels, *sides = self.args[0].shape
        sides = [*sides[:-2], *(2 * side for side in sides[-2:])]
        return Inputs.of_images((channels, *sides)).with_batch(batch)

    def make(self, like: Tensor, seed: int | None = None) -> Call:
        """A call of these looks, in the place and of the type of a weight; blank, or random."""
        draws = None if seed is None else torch.Generator().manual_seed(seed)
        args, kwargs = _mapped(lambda leaf: leaf.make(like, draws), (self.args, dict(self.kwargs)))
        return Call(args, kwargs, self.batch)

    def __str__(self) -> str:
        """As it stands in messages: "2 images of 3x32x32", or "(2x77 int64, image=2x3x64x64)"."""
        if self.images:
            batch, *size = self.args[0].shape
            return f"{batch} images of {'x'.join(map(str, size))}"
        named = [_shown(value) for value in self.args]
        return f"({', '.join([*named, *(f'{name}={_shown(value)}' for name, value in self.kwargs.items())])})"

    def to_json(self) -> dict[str, Any]:
        """As a weight file keeps it."""
        kwargs = {name: _to_json(value) for name, value in self.kwargs.items()}
        return {"args": [_to_json(value) for value in self.args], "kwargs": kwargs, "batch": self.batch}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], where: str) -> "Inputs":
        """As a weight file keeps it, checked by its schema already.

        Raises:
            FitError: it asks for a kind of tensors that there is not, or for more than anybody would.
        """
        args = tuple(_from_json(value) for value in stored["args"])
        kwargs = {name: _from_json(value) for name, value in stored["kwargs"].items()}
        for like in _leaves((args, kwargs)):
            if like.kind not in _KINDS or math.prod(like.shape) > _LARGEST or not like.low <= like.high:
                raise FitError(
                    f"'{where}' says that its network takes {_shown(like)} from {like.low} to {like.high}; "
                    "that is not taken from a file: give `inputs`"
                )
        return cls(args, kwargs, stored["batch"])


Takes = Inputs | tuple[int, ...]  # what a network takes; a bare size (C, H, W) is that of images


def inputs_of(takes: Takes) -> Inputs:
    """What a network takes, where a bare size means images of it."""
    return takes if isinstance(takes, Inputs) else Inputs.of_images(takes)


def leaves_of(inputs: Inputs) -> list[TensorLike]:
    """The looks of every tensor that a network is called with, however deep in lists and dictionaries."""
    return _leaves((inputs.args, dict(inputs.kwargs)))


def _looks(tensor: Tensor) -> TensorLike:
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    if kind not in _KINDS:
        raise FitError(f"an input is of {tensor.dtype}; allowed are floats and {', '.join(_KINDS)}")
    if tensor.is_complex() or not tensor.numel():
        return TensorLike(tuple(tensor.shape), kind)
    return TensorLike(tuple(tensor.shape), kind, float(tensor.min()), float(tensor.max()))


def _is_leaf(value: Any) -> bool:
    return isinstance(value, TensorLike)


def _leaves(tree: Any) -> list[TensorLike]:
    return [leaf for leaf in pytree.tree_leaves(tree, is_leaf=_is_leaf) if isinstance(leaf, TensorLike)]


def _mapped(change: Callable[[TensorLike], Any], tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: change(leaf) if _is_leaf(leaf) else leaf, tree, is_leaf=_is_leaf)


def _shown(value: Any) -> str:
    if isinstance(value, TensorLike):
        size = "x".join(map(str, value.shape)) or "one"
        return size if value.kind == "float" else f"{size} {value.kind}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_shown(item)}' for name, item in value.items())}}}"
    return repr(value)


def _to_json(value: Any) -> Any:
    if isinstance(value, TensorLike):
        numbers = {"low": value.low, "high": value.high}
        return {"tensor": {"shape": list(value.shape), "kind": value.kind, **numbers}}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_to_json(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": {str(name): _to_json(item) for name, item in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise FitError(
        f"an input is of type {type(value).__name__}, which no file can keep; give tensors, numbers, texts, "
        "and lists, tuples and dictionaries of them"
    )


def _from_json(stored: Any) -> Any:
    if not isinstance(stored, Mapping):
        return stored
    ((kind, held),) = stored.items()
    if kind == "tensor":
        return TensorLike(tuple(held["shape"]), held["kind"], held["low"], held["high"])
    if kind == "dict":
        return {name: _from_json(item) for name, item in held.items()}
    return (list if kind == "list" else tuple)(_from_json(item) for item in held)
