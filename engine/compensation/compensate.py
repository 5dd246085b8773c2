"""A narrow network is mended: every layer is solved again on what the narrow network feeds it.

Dense and narrow network run side by side. In forward order each layer gets the weights that bring its
outputs, made of the narrow network's own activations, closest to the dense network's; a branch that ends in a
residual sum is brought close to the dense sum minus what the narrow network adds to it, so that it also mends
the error so far. Sources: ThiNet, arXiv 1707.06342, section 3.2; Channel Pruning, arXiv 1707.06168, section
3.2 (targets of residual branches); OSSCAR, arXiv 2403.12983. The ridge towards the sliced weights is ours.
"""

from collections.abc import Collection, Generator, Iterable, Sequence

import torch
from torch import Tensor, fx, nn

from ..events import Event, LayerRefitted
from ..graph.channels import ChannelMap
from ..modules.eval_mode import eval_mode
from ..processes.distributed import add_up
from .affine import Layer, Normalisation
from .fitting import Settings, fit_layer, fit_norm
from .moments import halves
from .pairing import Pair, Site, changed, exported, kept_outputs, site_name, sites, unreached
from .paths import Path, others_at_end, path_of
from .program import Norm, Program
from .rectified import Wanted, rectified
from .report import Refit, Report
from .streams import Batch, Stream, equal_batches

DEFAULTS = Settings()
UNKNOWN = "what reads their weights is no layer that can be solved for"


def compensate(
    dense: nn.Module,
    thin: nn.Module,
    channel_map: ChannelMap,
    removed: Iterable[int],
    images: Iterable[Batch],
    settings: Settings = DEFAULTS,
    *,
    programs: Pair | None = None,
    passed_over: Collection[str] = (),
) -> Generator[Event, None, Report]:
    """Refit a narrow network to the network it was cut from, in place, without labels.

    Args:
        dense: the full network; left as it is.
        thin: cut out of it, module names equal; a residual addition may have got an index or an expansion.
        channel_map: of the full network as it was pruned.
        removed: channel ids that left.
        images: batches images_NCHW on the networks' device; several processes give equal shares.
        settings: see `Settings`.
        programs: of both, on batches of this size, where they are there already.
        passed_over: names of layers that stay as they are.

    Yields:
        `LayerRefitted`, once per layer whose inputs have changed.

    Raises:
        TraceError: one of the networks cannot be followed.
    """
    batches = equal_batches(images)
    with eval_mode(dense), eval_mode(thin):
        programs = programs or exported(dense, thin, batches[0])
        work = _SideBySide(programs, thin, channel_map, frozenset(removed), batches, settings, passed_over)
        nodes = work.waiting
        said = 0
        for node in nodes:
            work.refit(node)
            while said < len(work.done):  # layers that it had to wait for come first
                said += 1
                yield LayerRefitted(said, len(nodes), work.done[said - 1].layer)
    left = [Refit(name, "left", reason=UNKNOWN) for name in work.unreached]
    return Report((*work.done, *left), work.images, work.left_out)


class _SideBySide:
    """Both networks, and how far they have come."""

    def __init__(
        self,
        programs: Pair,
        thin: nn.Module,
        channel_map: ChannelMap,
        removed: frozenset[int],
        batches: Sequence[Batch],
        settings: Settings,
        passed_over: Collection[str],
    ):
        self._dense, self._thin = programs
        given = sum(map(len, batches))
        batches = programs.that_fit(batches, settings.memory)
        self.left_out = int(add_up(torch.tensor(given - sum(map(len, batches)))))
        self._model, self._settings = thin, settings
        self._map, self._gone = channel_map, channel_map.removal_mask(removed)
        self.images = int(add_up(torch.tensor(sum(map(len, batches)))))
        self.done: list[Refit] = []
        differing = changed(self._dense, self._thin)
        self._pairs = {
            narrow.node: (full, narrow)
            for full, narrow in sites(self._dense, self._thin)
            if narrow.x in differing
            and site_name(narrow) not in passed_over
            and not _only_speaks(self._thin, full, narrow)
        }
        self._paths = {
            node: (_path(self._dense, full), _path(self._thin, narrow))
            for node, (full, narrow) in self._pairs.items()
        }
        wanted = [at for path, _ in self._paths.values() for at in {path.own, path.end}]
        self._dense_values = Stream(self._dense, batches, keep=wanted)
        self._thin_values = Stream(self._thin, batches, before=self.refit)
        self._halves = [halves(given) for given in batches]
        self._claimed: set[fx.Node] = set()
        reached = {call.layer for call in self._thin.calls} | set(passed_over)
        self.unreached = unreached(channel_map, self._gone, reached)

    @property
    def waiting(self) -> list[fx.Node]:
        """Where the outputs of layers appear that are still to be fitted."""
        return list(self._pairs)

    @torch.no_grad()
    def refit(self, node: fx.Node) -> None:
        """Fit the layer whose outputs appear here, unless that is done."""
        full, site = self._pairs.pop(node, (None, None))
        if full is None or site is None:
            return
        dense_path, path = self._paths[node]
        self.done.append(self._fitted(full, site, dense_path, path))
        for at in {dense_path.own, dense_path.end}:
            self._dense_values.release(at)

    def _fitted(self, full: Site, site: Site, dense_path: Path, path: Path) -> Refit:
        kept = kept_outputs(self._map, self._gone, full)
        if kept is None or len(kept) != len(path.places):
            return Refit(site_name(site), "left", reason="which outputs are left is not known")
        inputs = self._thin_values.at(site.x)
        wanted = self._wanted(site, kept, dense_path, path)
        if isinstance(site, Norm):
            return fit_norm(
                site, Normalisation(self._model, site), inputs, wanted.targets, self._halves, self._settings
            )
        layer = Layer(self._model, site, path.norm)
        return fit_layer(self._thin, layer, inputs, wanted, self._halves, self.images, self._settings)

    def _wanted(self, site: Site, kept: Tensor, dense_path: Path, path: Path) -> Wanted:
        """What the layer's outputs should be.

        The first layer of several that end in one sum mends what the others leave.
        """
        axis = -1 if not isinstance(site, Norm) and site.kind == "linear" else 1
        if not path.sums or path.sums != dense_path.sums or path.end in self._claimed:
            dense = self._dense_values.at(dense_path.own)
            targets = [dense_NO.index_select(axis, kept.to(dense_NO.device)) for dense_NO in dense]
            zeros = [target_NO.new_zeros(()).expand_as(target_NO) for target_NO in targets]
            return Wanted(targets, zeros if rectified(self._thin, path.own) else None)
        self._claimed.add(path.end)
        floors = [  # where the sum is zero
            -other_NO.index_select(axis, path.places.to(other_NO.device))
            for other_NO in others_at_end(self._thin, path, self._thin_values.at)
        ]
        dense, places = self._dense_values.at(dense_path.end), dense_path.places[kept]
        targets = [
            dense_NO.index_select(axis, places.to(dense_NO.device)) + floor_NO
            for dense_NO, floor_NO in zip(dense, floors, strict=True)
        ]
        return Wanted(targets, floors if rectified(self._thin, path.end) else None)


def _only_speaks(program: Program, full: Site, narrow: Site) -> bool:
    """Does it make the logits out of inputs that are all there? Weights that were trained for that stay.

    Least squares on logits is not what they are for: on held-back images, leaving them was better (KL
    divergence from the dense ResNet-20: 0.404, and 0.417 with them fitted).
    """
    width = -1 if isinstance(narrow, Norm) or narrow.kind == "linear" else 1
    widths = [site.x.meta["val"].shape[width] for site in (full, narrow)]
    return narrow.node in program.outputs and widths[0] == widths[1]


def _path(program: Program, site: Site) -> Path:
    width = site.node.meta["val"].shape[-1 if not isinstance(site, Norm) and site.kind == "linear" else 1]
    if isinstance(site, Norm):
        return Path(site, site.node, (), 0, torch.arange(width))
    return path_of(program, site, width)
