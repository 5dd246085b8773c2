"""`prune recipes`: the published rows that can be run, and everything one of them says."""

import shlex
from typing import Annotated, Any

from ..engine import recipes
from ..engine.recipes import Recipe
from ..engine.recipes.recipe import Published, Training, Variant
from . import options as opt
from . import units
from .grouped import grouped
from .options.group import argument
from .show import Format, Out
from .spelling import as_typed

COLUMNS: dict[str, Format] = {
    "recipe": str,
    "arch": str,
    "data": str,
    "FLOPs": units.as_printed,
    "params": units.as_printed,
    "top-1": units.as_printed,
}


@grouped
def command(
    glob: Annotated[
        str,
        argument("NAME|GLOB", "One recipe, or those it matches: 'fpgm/*'."),
    ] = "*",
    *,
    output: opt.Results,
) -> None:
    """List the published rows that can be run, or show one of them.

    FLOPs and params are the published drops. prune recipes NAME shows all of a row: its source, rates and
    training. Run it with prune train-base, prune prune and prune finetune --recipe NAME; hold it against its
    paper with prune flops --recipe NAME.
    """
    out = output.show()
    found = recipes.matching(glob)
    if glob in recipes.names():
        _show(out, found[0])
        return
    out.json({"recipes": [_summary(recipe) for recipe in found]})
    rows = []
    for recipe in found:
        facts = _summary(recipe)
        drops = [f"-{facts[name]}" if facts[name] else None for name in ("flops_drop", "params_drop")]
        names = [facts[name] for name in ("name", "arch", "dataset")]
        rows.append([*names, *drops, facts["top1"] or None])
    out.table("", COLUMNS, rows)


def commands(recipe: Recipe) -> dict[str, str]:
    """Step -> the command line that does it."""
    where = " --data-dir FOLDER" if recipe.dataset == "imagenet" else ""
    name = shlex.quote(recipe.name)
    scratch, untold = recipe.options.get("scratch", False), recipe.base == Training()
    lines: dict[str, str] = {}
    if not scratch and untold and recipe.dataset == "imagenet":
        lines["base"] = f"prune convert torchvision:{recipe.arch} base.hdf5"
    elif not scratch:
        lines["base"] = f"prune train-base --recipe {name}{where}"
    file = "" if scratch else " base.hdf5" if "convert" in lines["base"] else " BASE"
    lines["prune"] = f"prune prune{file} --recipe {name}{where}"
    if recipe.finetuning is not None:
        lines["finetune"] = f"prune finetune NARROW --recipe {name}{where}"
        if recipe.pruning is not None:
            lines["or, as the authors"] = f"{lines['prune']} --schedule layer-by-layer"
    return lines


def _summary(recipe: Recipe) -> dict[str, Any]:
    published = recipe.published
    return {
        "name": recipe.name,
        "arch": recipe.arch,
        "dataset": recipe.dataset,
        "residual": recipe.main.specification.get("residual", "internal"),
        "flops": published.flops,
        "flops_drop": published.flops_drop,
        "params": published.params,
        "params_drop": published.params_drop,
        "top1": published.top1,
        "top5": published.top5,
        "source": recipe.source,
    }


def _show(out: Out, recipe: Recipe) -> None:
    """One record, all of it."""
    out.json({**_summary(recipe), "record": recipe, "commands": commands(recipe)})
    out.facts(
        {
            "recipe": recipe.name,
            "source": recipe.source,
            "network": f"{recipe.arch} on {recipe.dataset}",
            "published": _published(recipe.published),
            "counted": f"{recipe.counted_as}, of {recipe.counted_variant.name}",
            "options": _options(dict(recipe.options)) or None,
        }
    )
    out.facts({variant.name: _variant(variant) for variant in recipe.variants})
    trainings = {"base": recipe.base, "pruning": recipe.pruning, "finetuning": recipe.finetuning}
    out.facts(
        {
            f"training, {what}": _options(training.options()) or "not described"
            for what, training in trainings.items()
            if training is not None
        }
    )
    if recipe.explanation:
        out.facts({"explained": as_typed(recipe.explanation)})
    out.facts(commands(recipe))


def _published(published: Published) -> str:
    amounts = (
        ("FLOPs", published.flops, published.flops_drop),
        ("params", published.params, published.params_drop),
    )
    words = [
        " ".join(
            filter(None, (amount, what, f"(-{drop})" if drop and amount else f"-{drop}" if drop else ""))
        )
        for what, amount, drop in amounts
        if amount or drop
    ]
    words += [
        f"{what} {value}" for what, value in (("top-1", published.top1), ("top-5", published.top5)) if value
    ]
    return ", ".join(words) or "nothing"


def _variant(variant: Variant) -> str:
    cost = "widths not published"
    if variant.macs is not None and variant.params is not None:
        cost = f"{units.count(variant.macs)} MACs, {units.count(variant.params)} params"
    return f"{cost}   {_options(dict(variant.specification))}"


def _options(options: dict[str, Any]) -> str:
    """Settings as they would be typed."""
    words: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        several = isinstance(value, tuple | list) and any(isinstance(item, str) for item in value)
        if isinstance(value, bool):
            words += [option] if value else []
        elif several:
            words += [f"{option} {shlex.quote(str(item))}" for item in value]
        else:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{option} {shlex.quote(text)}")
    return " ".join(words)
