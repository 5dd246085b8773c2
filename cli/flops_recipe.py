"""`prune flops --recipe`: published, by the paper's count, and truly narrow, side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import units
from .costs import cost_facts
from .show import Format, Out
from .spelling import as_typed

if TYPE_CHECKING:
    from ..engine.recipes.account import Account, Reading
    from ..engine.recipes.counts import Count

ALL = "all"


def _number(value: int | str) -> str:
    return value if isinstance(value, str) else units.count(value)


# A drop stands behind each number; spaces tell the headings apart, which must not be the same.
READING_COLUMNS: dict[str, Format] = {
    "": str,
    "FLOPs, their way": _number,
    "drop": units.as_printed,
    "params, their way": _number,
    "drop ": units.as_printed,
    "as printed": str,
    "true MACs": units.count,
    "drop  ": units.as_printed,
    "true params": units.count,
    "drop   ": units.as_printed,
    "as recorded": str,
}
ALL_COLUMNS: dict[str, Format] = {
    "recipe": str,
    "published": units.as_printed,
    "their way": units.as_printed,
    "params": units.as_printed,
    "their way ": units.as_printed,
    "as printed": str,
    "true MACs": units.count,
    "drop": units.as_printed,
    "true params": units.count,
    "drop ": units.as_printed,
    "as recorded": str,
}


def show_recipes(show: Out, name: str) -> None:
    """Count one recipe, or `all`, and hold the counts against the paper and against the records.

    Raises:
        RecipeError: no such recipe, or one whose networks are no longer those that it records.
    """
    import torch

    from ..engine import recipes
    from ..engine.errors import RecipeError
    from ..engine.recipes.account import accounts

    torch.set_num_threads(1)  # tracing computes next to nothing: more threads only wait for each other
    chosen = recipes.matching("*") if name == ALL else (recipes.get(name),)
    counted = list(accounts(chosen))
    if name == ALL:
        _show_all(show, counted)
    else:
        _show_one(show, counted[0])
    changed = [account.recipe.name for account in counted if not _recorded(account)]
    if changed:
        raise RecipeError(f"no longer the networks that are recorded: {', '.join(changed)}")


def _show_one(show: Out, account: "Account") -> None:
    recipe, main = account.recipe, account.readings[0]
    cost = cost_facts(recipe.arch, main.cost or account.cost, account.cost)
    show.json({**cost, "recipe": _facts(account)})
    published, full = recipe.published, account.paper
    printed = [published.flops or None, _minus(published.flops_drop)]
    printed += [published.params or None, _minus(published.params_drop)]
    whole = [full.flops, None, full.params, None, None, account.cost.macs, None, account.cost.params]
    rows: list[list[Any]] = [["published", *printed, *[None] * 6], ["full network", *whole, None, None]]
    rows += [_reading_row(account, reading) for reading in account.readings]
    show.table(f"{recipe.name}: {recipe.arch} on {recipe.dataset}", READING_COLUMNS, rows)
    show.facts({"their way": recipe.counted_as, "source": recipe.source})
    if recipe.explanation:
        show.facts({"explained": as_typed(recipe.explanation)})


def _reading_row(account: "Account", reading: "Reading") -> list[Any]:
    paper, cost, full = reading.paper, reading.cost, account.cost
    if paper is None or cost is None:
        return [reading.variant.name, *[None] * 9, "widths not published"]
    return [
        reading.variant.name,
        paper.flops,
        units.change(paper.flops, account.drop_from.flops),
        paper.params,
        _params_drop(account, paper),
        _agreement(account) if reading is account.counted else None,
        cost.macs,
        units.change(cost.macs, full.macs),
        cost.params,
        units.change(cost.params, full.params),
        "yes" if reading.as_recorded else "NO",
    ]


def _show_all(show: Out, counted: "Sequence[Account]") -> None:
    show.json({"recipes": [_facts(account) for account in counted]})
    show.table("", ALL_COLUMNS, [_summary_row(account) for account in counted])
    agree = [account for account in counted if _agreement(account) == "yes"]
    differ = [account for account in counted if False in account.printed.values()]
    show.facts(
        {
            "as printed": f"{len(agree)} of {len(agree) + len(differ)} rows, {len(differ)} explained below",
            "as recorded": f"{sum(map(_recorded, counted))} of {len(counted)} recipes, every variant counted",
        }
    )
    explained: dict[str, list[str]] = {}
    for account in counted:
        if account.recipe.explanation:
            explained.setdefault(account.recipe.explanation, []).append(account.recipe.name)
    show.facts({names[0]: as_typed(text) for text, names in explained.items()})


def _summary_row(account: "Account") -> list[Any]:
    published, paper, cost = account.recipe.published, account.counted.paper, account.readings[0].cost
    row: list[Any] = [account.recipe.name, _printed(published.flops, _minus(published.flops_drop)), None]
    row += [_printed(published.params, _minus(published.params_drop)), None, _agreement(account)]
    if paper is None or cost is None:
        return [*row, *[None] * 4, "widths not published"]
    row[2] = f"{units.large(paper.flops)} {units.change(paper.flops, account.drop_from.flops)}"
    if paper.params is not None:
        row[4] = f"{units.large(paper.params)} {_params_drop(account, paper)}"
    true = [cost.macs, units.change(cost.macs, account.cost.macs)]
    true += [cost.params, units.change(cost.params, account.cost.params)]
    return [*row, *true, "yes" if _recorded(account) else "NO"]


def _facts(account: "Account") -> dict[str, Any]:
    """A recipe's account for machines."""
    recipe = account.recipe
    return {
        "name": recipe.name,
        "arch": recipe.arch,
        "dataset": recipe.dataset,
        "published": recipe.published,
        "counted_as": recipe.counted_as,
        "counted_variant": recipe.counted_variant.name,
        "as_printed": account.printed,
        "full": {
            "paper": account.paper,
            "macs": account.cost.macs,
            "params": account.cost.params,
        },
        "variants": [
            {
                "name": reading.variant.name,
                "specification": reading.variant.specification,
                "paper": reading.paper,
                "macs": reading.cost and reading.cost.macs,
                "params": reading.cost and reading.cost.params,
                "as_recorded": None if reading.cost is None else reading.as_recorded,
            }
            for reading in account.readings
        ],
        "explanation": recipe.explanation,
    }


def _recorded(account: "Account") -> bool:
    return all(reading.as_recorded for reading in account.readings)


def _agreement(account: "Account") -> str | None:
    """Which printed numbers the paper's count does not give; `yes` where it gives them all."""
    known = {name: agrees for name, agrees in account.printed.items() if agrees is not None}
    if not known:
        return None
    wrong = [name.replace("_", " ") for name, agrees in known.items() if not agrees]
    return f"not {', '.join(wrong)}" if wrong else "yes"


def _params_drop(account: "Account", paper: "Count") -> str | None:
    before = account.drop_from.params
    return None if paper.params is None or before is None else units.change(paper.params, before)


def _minus(drop: str) -> str | None:
    """A drop as it is printed, as a change."""
    return f"-{drop}" if drop else None


def _printed(amount: str, change: str | None) -> str | None:
    return " ".join(filter(None, (amount, change))) or None
