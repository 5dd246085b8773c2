"""Channel ids through products that sum over an axis: matrix products, and what einsum spells out.

A product is zero where one factor is. So channels that are summed over leave from both factors at once, if
one of them reads as zero; the channels of axes that are not summed over pass on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from ..modules.through import loses_head_dims
from .channels import NO_ID, Ids, Role
from .head_dims import HEADS, by_dimension
from .ids import Value, along, no_ids
from .walk import Arguments, Walk, unknown

ELLIPSIS = "0123456789"  # the axes that `...` stands for, from the last one backwards


@dataclass(frozen=True, eq=False)
class _Factor:
    """One operand, a letter for each of its axes."""

    value: Value
    letters: str

    @property
    def is_weight(self) -> bool:
        return self.value.name is not None

    @property
    def varying(self) -> list[str]:
        """The letters along which channels vary."""
        return [self.letters[axis] for axis in self.value.varying_axes()]

    def extent(self, letter: str) -> int:
        return self.value.shape[self.letters.index(letter)] if letter in self.letters else 1

    def id_extent(self, letter: str) -> int:
        return self.value.ids.shape[self.letters.index(letter)]

    @property
    def line(self) -> Ids:
        """One id per position of the only letter along which channels vary."""
        return self.value.ids.reshape(-1)


def einsum(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """As the equation says, without repeated letters in one operand."""
    into, arrow, out = given["equation"].replace(" ", "").partition("->")
    values = list(given["tensors"])
    terms = [_spelt(term, len(value.shape)) for term, value in zip(into.split(","), values, strict=True)]
    if any(len(set(term)) < len(term) for term in terms):
        return walk.give_up(node, given.values(), "no rule for this op")
    letters = "".join(terms)
    dots = "".join(axis for axis in reversed(ELLIPSIS) if axis in letters)
    alone = sorted(letter for letter in set(letters) - set(ELLIPSIS) if letters.count(letter) == 1)
    out = out.replace("...", dots) if arrow else dots + "".join(alone)
    return _contract(walk, node, [_Factor(v, t) for v, t in zip(values, terms, strict=True)], out)


def matrix_product(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`matmul`, `mm`, `bmm`, `mv`, `dot`: (..., m, k) by (..., k, n)."""
    first, second = (value for value in given.values() if isinstance(value, Value))
    left, right = "mk"[-len(first.shape) :], "kn"[: len(second.shape)]
    left = ELLIPSIS[: max(0, len(first.shape) - 2)][::-1] + left
    right = ELLIPSIS[: max(0, len(second.shape) - 2)][::-1] + right
    batch = max(left[:-2], right[:-2], key=len)
    out = batch + ("m" if "m" in left else "") + ("n" if "n" in right else "")
    return _contract(walk, node, [_Factor(first, left), _Factor(second, right)], out)


def sum_of_products(walk: Walk, node: fx.Node, given: Arguments) -> Any:
    """`addmm`, `baddbmm`: what is added to a product is followed only where it has no channels."""
    added = given.pop("self")
    made = matrix_product(walk, node, given)
    if (added.ids != NO_ID).any() or (made.ids != NO_ID).any():
        return walk.give_up(node, [added, made], "no rule for this op")
    return made


def _spelt(term: str, rank: int) -> str:
    return term.replace("...", ELLIPSIS[: rank - len(term.replace("...", ""))][::-1])


def _contract(walk: Walk, node: fx.Node, factors: list[_Factor], out: str) -> Any:
    """The product of all factors, summed over the letters that are not in `out`."""
    if all(factor.is_weight for factor in factors):
        return unknown(node.meta["val"])
    summed = sorted(set("".join(factor.letters for factor in factors)) - set(out))
    if len(factors) == 2:
        first, second = factors
        factors = [_of_heads(walk, first, second, summed), _of_heads(walk, second, first, summed)]
    for letter in summed:
        _tie_summed(walk, factors, summed, letter)
    patterns = [_left_over(walk, factor, summed, out) for factor in factors]
    result, zero = _outer(walk, factors, patterns, out)
    return Value(tuple(node.meta["val"].shape), result, zero)


def _of_heads(walk: Walk, factor: _Factor, other: _Factor, summed: list[str]) -> _Factor:
    """Queries, keys or values of several heads: heads leave as wholes, or by dimensions; see `head_dims`."""
    others = [letter for letter in factor.letters if letter in summed or letter not in other.letters]
    own = [letter for letter in factor.varying if letter in others]
    heads = [letter for letter in factor.varying if letter not in others]
    by_dims = loses_head_dims(walk.model)
    last = by_dims and not own and any(factor.extent(letter) == 1 for letter in others)  # dimension of each
    if factor.is_weight or other.is_weight or not heads or not (len(own) == 1 or last):
        return _staying(walk, factor)
    if not by_dims:
        walk.bundles.update(dict.fromkeys(factor.value.ids.ravel().tolist(), HEADS))
        return factor
    over = [factor.letters.index(letter) for letter in heads]
    return _Factor(by_dimension(walk, factor.value, over), factor.letters)


def _staying(walk: Walk, factor: _Factor) -> _Factor:
    """Heads that stay anyway, as what is added to their scores has one for each, are none to dimensions."""
    if not loses_head_dims(walk.model) or any(i not in walk.pins for i in np.unique(factor.value.ids)):
        return factor
    value = Value(factor.value.shape, no_ids(factor.value.shape), reads_zero=False)
    return _Factor(value, factor.letters)


def _tie_summed(walk: Walk, factors: list[_Factor], summed: list[str], letter: str) -> None:
    """What is summed over leaves from all factors at once, where the product is zero without it."""
    present = [factor for factor in factors if letter in factor.letters]
    lined = [factor for factor in present if factor.varying == [letter]]
    for factor in present:
        if letter in factor.varying and set(factor.varying) <= set(summed) and factor not in lined:
            walk.pin(factor.value.ids, f"channels are mixed at {walk.where()}")
    if not lined:
        return
    line = lined[0].line
    for factor in present:
        if factor in lined:
            walk.unite(line, factor.line)
        elif factor.is_weight and factor.extent(letter) == len(line):
            walk.label(str(factor.value.name), factor.letters.index(letter), line, Role.CONSUMES)
        else:
            walk.pin(line, f"meets a tensor without channel identity at {walk.where()}")
    if not any(factor.value.reads_zero for factor in lined):
        walk.pin(line, f"a removed channel would not read as zero at {walk.where()}")


def _left_over(walk: Walk, factor: _Factor, summed: list[str], out: str) -> Ids:
    """A factor's ids along the letters of `out`: those that vary along summed ones too leave as wholes."""
    ids = factor.value.ids
    over = [axis for axis, letter in enumerate(factor.letters) if letter in summed]
    if set(factor.varying) <= set(summed):
        return no_ids((1,) * len(out))
    ids = walk.tied_along(ids, over)
    kept = [letter for letter in factor.letters if letter not in summed]
    ids = ids.squeeze(tuple(over)).transpose([kept.index(letter) for letter in out if letter in kept])
    return ids.reshape([factor.id_extent(letter) if letter in kept else 1 for letter in out])


def _outer(walk: Walk, factors: list[_Factor], patterns: list[Ids], out: str) -> tuple[Ids, bool]:
    """The ids of the product along `out`, and whether it is zero where they are masked."""
    carried = [(factor, ids) for factor, ids in zip(factors, patterns, strict=True) if (ids != NO_ID).any()]
    if not carried:
        return _own(walk, factors, out)
    spans = [{axis for axis, extent in enumerate(ids.shape) if extent > 1} for _, ids in carried]
    widest = max(spans, key=len)
    result = next(ids for (_, ids), span in zip(carried, spans, strict=True) if span == widest)
    for (_, ids), span in zip(carried, spans, strict=True):
        if span <= widest:
            walk.unite(result, ids)
        else:
            walk.pin(ids, f"channels meet other channels at {walk.where()}")
            walk.pin(result, f"channels meet other channels at {walk.where()}")
    for factor in factors:
        letters = [out[axis] for axis in widest if factor.extent(out[axis]) > 1]
        if all(factor is not other for other, _ in carried) and letters:
            _follow(walk, factor, result, out, letters)
    return result, any(factor.value.reads_zero for factor, _ in carried)


def _follow(walk: Walk, factor: _Factor, result: Ids, out: str, letters: list[str]) -> None:
    """A factor without ids of its own has the product's channels on some of its axes."""
    if factor.is_weight and len(letters) == 1 and result.size == factor.extent(letters[0]):
        walk.label(
            str(factor.value.name), factor.letters.index(letters[0]), result.reshape(-1), Role.PRODUCES
        )
    else:
        walk.pin(result, f"meets a tensor without channel identity at {walk.where()}")


def _own(walk: Walk, factors: list[_Factor], out: str) -> tuple[Ids, bool]:
    """A product without ids gets those of its one weight, along the one letter that only the weight has."""
    weights = [factor for factor in factors if factor.is_weight]
    others = "".join(factor.letters for factor in factors if not factor.is_weight)
    own = [
        letter for factor in weights for letter in factor.letters if letter in out and letter not in others
    ]
    if len(weights) != 1 or len(own) != 1:
        return no_ids((1,) * len(out)), False
    weight, letter = weights[0], own[0]
    ids = walk.owned(str(weight.value.name), weight.letters.index(letter), weight.extent(letter))
    return along(out.index(letter), len(out), ids), True
