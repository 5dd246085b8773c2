"""Block after block is trained to do what the full network's block does, after its layers were solved.

Li et al., BRECQ, arXiv 2102.05426, section 3.2, fit blocks so after quantisation; here a block reads what the
fitted blocks ahead of it give, and some images are held back to judge it by.
"""

import math
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ..events import BlockFitted, Event
from ..graph.channels import ChannelMap
from ..modules.eval_mode import eval_mode
from ..processes.distributed import add_up, processes
from .blocks import Block, blocks, narrowed
from .compensate import DEFAULTS, compensate
from .pairing import Pair, changed, exported, site_name, sites
from .program import Program
from .streams import BATCH, Stream, equal_batches

STEPS = 50  # for every block, where nothing else is asked for
RATE = 1e-3  # Adam's learning rate at the start; it falls to zero along a cosine
HELD_BACK = 8  # one batch of so many is judged by
LEAST = 8  # images of one step
PIXELS = BATCH * 32 * 32  # of them: large ones have as many places with fewer


@dataclass(frozen=True)
class Fitted:
    """What became of one block: mean squared errors of its outputs on images held back.

    Attributes:
        layers: names of its layers.
        before, after: the errors; equal where training did not help and was undone.
    """

    layers: tuple[str, ...]
    before: float
    after: float


def fit_blocks(
    dense: nn.Module,
    thin: nn.Module,
    channel_map: ChannelMap,
    removed: Collection[int],
    images: Sequence[Tensor],
    *,
    steps: int,
    seed: int = 0,
    programs: Pair | None = None,
    memory: int = DEFAULTS.memory,
) -> Generator[Event, None, list[Fitted]]:
    """Train the blocks of a narrow network one after the other, in place and without labels.

    Layers behind the last block, which read what it now gives, are solved again.

    Args:
        dense: the full network; left as it is.
        thin: cut out of it, compensated.
        channel_map: of the full network as it was pruned.
        removed: channel ids that left.
        images: batches images_NCHW on the networks' device; several processes give equal shares.
        steps: of Adam, for every block.
        seed: of the order of the images.
        programs: of both, on batches of this size, where they are there already.
        memory: bytes that the values of both may take up; of more images than that, the first are taken.

    Yields:
        `BlockFitted`, once per block.

    Raises:
        TraceError: one of the networks cannot be followed.
    """
    batches = equal_batches(images, per_step(images[0].shape[2:]))
    done: list[Fitted] = []
    with eval_mode(dense), eval_mode(thin):
        pair = programs
        if pair is None or pair.narrow.samples != len(batches[0]):
            pair = exported(dense, thin, batches[0])
        batches = pair.that_fit(batches, memory // 2)  # inputs and targets of a block stand twice
        full, narrow = pair
        gone = channel_map.removal_mask(removed)
        found = blocks(full, narrow, channel_map, gone, changed(full, narrow))
        dense_values = Stream(full, batches, keep=[block.target for block in found])
        at = _At(narrow, batches)
        draw = torch.Generator().manual_seed(seed)
        for block in found:
            at.advance(block.start)
            target = narrowed(dense_values.at(block.target), block.kept)
            dense_values.release(block.target)
            done.append(_fit(narrow, block, at.values, target, steps, draw))
            yield BlockFitted(len(done), len(found), block.layers[-1])
        inside = {
            site_name(site) for _, site in sites(full, narrow) if any(site.node in b.nodes for b in found)
        }
    if any(block.after < block.before for block in done):
        yield from compensate(
            dense, thin, channel_map, removed, images, programs=programs, passed_over=inside
        )
    return done


def per_step(extents: Sequence[int]) -> int:
    """How many images of these extents, in pixels, one step looks at."""
    return min(BATCH, max(LEAST, PIXELS // math.prod(extents)))


class _At:
    """All batches at one cut of a network, as its parameters are when they get there."""

    def __init__(self, program: Program, batches: Sequence[Tensor]):
        self._program, self._node = program, program.inputs[0]
        self.values = list(batches)

    @torch.no_grad()
    def advance(self, node: fx.Node) -> None:
        """Run on to a later cut."""
        if node is self._node:
            return
        first = self._program.place.get(self._node, -1) + 1
        nodes = self._program.nodes[first : self._program.place[node] + 1]
        self.values = [_run(self._program, nodes, self._node, value, {}) for value in self.values]
        self._node = node


def _run(
    program: Program,
    nodes: Iterable[fx.Node],
    start: fx.Node,
    value: Tensor,
    parameters: Mapping[fx.Node, Tensor],
) -> Tensor:
    values = {start: value}
    made = value
    for node in nodes:
        made = values[node] = program.compute(node, values, parameters)
    return made


def _fit(
    program: Program, block: Block, inputs: list[Tensor], target: Tensor, steps: int, draw: torch.Generator
) -> Fitted:
    """Train the parameters of one block, and keep them if they do better on the images held back."""
    size, judged = len(inputs[0]), max(1, len(inputs) // HELD_BACK)
    x, batches = torch.cat(inputs), target.split(size)
    seen = len(x) - (judged * size if len(inputs) > 1 else 0)
    start = _trainable(program, block, inputs[0], batches[0])
    trained = {node: tensor.clone().requires_grad_() for node, tensor in start.items()}

    @torch.no_grad()
    def error(parameters: Mapping[fx.Node, Tensor]) -> float:
        pairs = list(zip(inputs, batches, strict=True))[-judged:]
        made = [_run(program, block.nodes, block.start, one, parameters) for one, _ in pairs]
        errors = [(m - t).square().mean() for m, (_, t) in zip(made, pairs, strict=True)]
        return float(add_up(torch.stack(errors).mean()) / processes())

    before = error(start)
    if not start:
        return Fitted(block.layers, before, before)
    optimizer = torch.optim.Adam(trained.values(), lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.empty(0, dtype=torch.int64)
    with torch.enable_grad():
        for _ in range(steps):
            if len(order) < size:
                order = torch.randperm(seen, generator=draw) if seen >= size else torch.arange(size)
            mine, order = order[:size].to(x.device), order[size:]
            optimizer.zero_grad()
            made = _run(program, block.nodes, block.start, x[mine], trained)
            (made - target[mine]).square().mean().backward()
            for tensor in trained.values():
                assert tensor.grad is not None
                tensor.grad = add_up(tensor.grad) / processes()
            optimizer.step()
            falling.step()
    after = error(trained)
    if not after < before:
        return Fitted(block.layers, before, before)
    with torch.no_grad():
        for node, tensor in trained.items():
            program.sources[node].copy_(tensor)
    return Fitted(block.layers, before, after)


def _trainable(program: Program, block: Block, x: Tensor, target: Tensor) -> dict[fx.Node, Tensor]:
    """What training may change: parameters that the block alone uses, and that its error has a gradient by.

    Nothing, where the block has an operation that none is known of.
    """
    found = {
        source: program.sources[source].detach()
        for node in block.nodes
        for source in node.all_input_nodes
        if isinstance(program.sources.get(source), nn.Parameter) and program.alone([source])
    }
    leaves = {node: tensor.clone().requires_grad_() for node, tensor in found.items()}
    with torch.enable_grad():
        try:
            loss = (_run(program, block.nodes, block.start, x, leaves) - target).square().mean()
            if not loss.requires_grad:
                return {}
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        except RuntimeError as error:
            if "derivative" not in str(error):
                raise
            return {}
    return {
        node: found[node] for node, gradient in zip(leaves, gradients, strict=True) if gradient is not None
    }
