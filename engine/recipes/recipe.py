"""What a recipe is: one row of a paper's result table, with everything needed to run, count and check it.

A record is frozen and checks itself when it is made; making one costs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from ..errors import RecipeError
from ..selection.rates import parse_rates
from .printed import read_amount, read_percent

_RATE_LISTS = ("compress_rate", "keep_rate")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How something is trained, under the names of the command's options; None is left to the command."""

    epochs: int | None = None
    lr: float | None = None
    lr_schedule: str | None = None
    milestones: tuple[int, ...] = ()
    gamma: float | None = None
    warmup_epochs: int | None = None
    batch_size: int | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    nesterov: bool | None = None
    decay_rule: str | None = None
    label_smoothing: float | None = None

    def __post_init__(self) -> None:
        """Refuse milestones that no training reaches.

        Raises:
            RecipeError: names them.
        """
        passed = [0, *self.milestones, self.epochs or 0]
        if self.milestones and passed != sorted(set(passed)):
            raise RecipeError(f"milestones {self.milestones} do not rise within {self.epochs} epochs")

    def options(self) -> dict[str, object]:
        """The settings that are given, as the command line takes them."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: _typed(value) for name, value in given.items()}


@dataclass(frozen=True, kw_only=True)
class Published:
    """The numbers as they are printed, `62.72M` and `50.0%`; empty where the table has none."""

    flops: str = ""
    flops_drop: str = ""
    params: str = ""
    params_drop: str = ""
    top1: str = ""
    top5: str = ""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One reading of a row.

    Attributes:
        specification: what leaves, as `engine.allocations.allocation_of` takes it.
        macs, params: of the truly narrow network; None where the paper does not say its widths.
    """

    name: str
    specification: Mapping[str, object]
    macs: int | None = None
    params: int | None = None

    def __post_init__(self) -> None:
        """Freeze the specification and refuse a list of rates that cannot be read.

        Raises:
            AllocationError: names the first slip.
        """
        object.__setattr__(self, "specification", MappingProxyType(dict(self.specification)))
        self.rates()

    def rates(self) -> list[float]:
        """The listed rates, if it has any."""
        for name in _RATE_LISTS:
            if name in self.specification:
                return parse_rates(str(self.specification[name]), keep=name == "keep_rate")
        return []


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One published row.

    Attributes:
        name: `paper/row`.
        arch, dataset: what was pruned, on what, by our names.
        source: where the row stands.
        published: its numbers, as printed.
        counted_as: the paper's way of counting, a name in `counts.COUNTS`.
        drop_from: the way of counting the full network that percentages are of, where it is another one.
        variants: readings of the row; the first is the one that is pruned by.
        counted: the variant that the printed numbers are of; the first if not given.
        rates: how many rates the row's list has; 0 where it has no list.
        options: of `prune prune`, beside the specification: criterion, method, schedule.
        base: training of the full network; empty where the paper uses one that it does not describe.
        pruning: training while filters leave; None where nothing is trained.
        finetuning: training afterwards; None where there is none.
        explanation: why the printed numbers are what they are, wherever they need one.
    """

    name: str
    arch: str
    dataset: str
    source: str
    published: Published
    counted_as: str
    variants: tuple[Variant, ...]
    drop_from: str = ""
    counted: str = ""
    rates: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    base: Training = field(default_factory=Training)
    pruning: Training | None = None
    finetuning: Training | None = None
    explanation: str = ""

    def __post_init__(self) -> None:
        """Freeze the options, and refuse a record that contradicts itself.

        Raises:
            RecipeError: names the recipe and the first contradiction.
        """
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"recipe '{self.name}': its variants are {names}; give each a name of its own")
        if self.counted and self.counted not in names:
            raise RecipeError(f"recipe '{self.name}': no variant '{self.counted}' among {', '.join(names)}")
        for variant in self.variants:
            if len(variant.rates()) != self.rates:
                raise RecipeError(
                    f"recipe '{self.name}', variant '{variant.name}': {len(variant.rates())} rates, "
                    f"not {self.rates}"
                )
        for printed in filter(None, (self.published.flops, self.published.params)):
            read_amount(printed)
        for printed in filter(None, (self.published.flops_drop, self.published.params_drop)):
            read_percent(printed)

    @property
    def paper(self) -> str:
        """The paper it is from, by the first half of its name."""
        return self.name.partition("/")[0]

    @property
    def main(self) -> Variant:
        """The variant that is pruned by."""
        return self.variants[0]

    @property
    def counted_variant(self) -> Variant:
        """The variant that the printed numbers are of."""
        return next((v for v in self.variants if v.name == self.counted), self.main)

    def options_of(self, command: str, residual: str | None = None) -> dict[str, object]:
        """What the recipe says to a command, by parameter name, as the command line takes it.

        Args:
            command: `train-base`, `prune` or `finetune`.
            residual: the residual mode that is asked for: its variant prunes, if there is one.

        Raises:
            RecipeError: the recipe has nothing to say to it.
        """
        network = {"arch": self.arch, "dataset": self.dataset}
        if command == "train-base":
            return {**network, **self.base.options()}
        if command == "finetune":
            if self.finetuning is None:
                raise RecipeError(
                    f"recipe '{self.name}' ends with pruning, there is no finetuning; "
                    f"run prune prune `recipe` {self.name}"
                )
            return {**network, **self.finetuning.options()}
        asked = (v for v in self.variants if v.specification.get("residual") == residual)
        leaves = next(asked, self.main).specification
        # ResRep finds the widths by itself; what it was found to leave is only there to be counted.
        widths = {} if self.options.get("method") == "resrep" else leaves
        return {
            **network,
            **{name: _typed(value) for name, value in widths.items()},
            **(self.pruning.options() if self.pruning else {}),
            **{name: _typed(value) for name, value in self.options.items()},
        }


def _typed(value: object) -> object:
    """A value as the command line takes it: numbers of a list in one text, several texts as several."""
    if isinstance(value, tuple):
        words = [str(item) for item in value]
        return words if any(isinstance(item, str) for item in value) else ",".join(words)
    return value
