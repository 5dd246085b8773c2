"""`prune flops`: count multiply-accumulates and parameters, layer by layer."""

from typing import Annotated

import typer

from . import options as opt
from . import units
from .costs import cost_facts, note_ignored, title_of
from .flops_recipe import show_recipes
from .grouped import grouped
from .options.group import option
from .show import Format, Out
from .spelling import option as as_option
from .spelling import typed

COLUMNS: dict[str, Format] = {
    "layer": str,
    "in": units.count,
    "out": units.count,
    "kernel": units.shape,
    "stride": units.shape,
    "output": units.shape,
    "MACs": units.large,
    "params": units.count,
}


@grouped
def command(
    context: typer.Context,
    file: opt.File = None,
    arch: opt.Arch = None,
    part: opt.Part = None,
    recipe: Annotated[
        str | None,
        option(
            "Network", "--recipe", "NAME|all", "A published row, such as hrank/resnet56; see prune recipes."
        ),
    ] = None,
    archs: Annotated[
        bool, option("Network", "--list", None, "List the built-in networks, which --arch takes.")
    ] = False,
    num_classes: opt.NumClasses = None,
    image_size: opt.ImageSize = None,
    *,
    amount: opt.Amount,
    output: opt.Results,
) -> None:
    """Count multiply-accumulates and parameters, layer by layer.

    A MAC is one multiply-add of a convolution or linear layer, for one image. With an option that says what
    leaves, the truly narrow network is counted, without weights or images: which filters leave does not
    change how many do.

    With --recipe, a published row is counted in three ways side by side: as it was printed, as its paper's
    program counts, and as the network truly is; --recipe all does so for all rows, and explains the errors.
    """
    show = output.show()
    if archs:
        _list_archs(show)
        return
    if recipe is not None:
        _refuse_beside_recipe(context)
        show_recipes(show, recipe)
        return
    wanted = amount.allocation()
    from ..engine.errors import EngineError
    from ..engine.graph.cost import count
    from ..engine.graph.trace import trace
    from ..engine.narrowing.pruning import forecast
    from ..engine.network.files import load_network
    from ..engine.network.fresh import new_network

    if file is not None:
        network = load_network(file, arch, input_size=image_size, part=part)
    elif arch is not None:
        network = new_network(arch, num_classes=num_classes, input_size=image_size, part=part or "")
    else:
        raise EngineError("give a weight file, or the name of a network with --arch")
    traced = trace(network.model, network.takes)
    baseline = cost = count(traced.map)
    ignored: tuple[str, ...] = ()
    if wanted is not None:
        expected = forecast(network, wanted, traced)
        cost, ignored = expected.after, expected.selection.ignored
        for line in expected.notes:
            show.note(line)
        for line in expected.selection.notes:
            show.warning(line)
    show.json({**cost_facts(network.arch, cost, baseline), "ignored": ignored})
    rows = [
        [
            layer.name,
            layer.in_,
            layer.out,
            layer.kernel or None,
            layer.stride or None,
            layer.out_hw or None,
            layer.macs,
            layer.params,
        ]
        for layer in cost.layers
    ]
    rows += [[module, *[None] * 5, macs, None] for module, macs in cost.opaque.items()]
    show.table(title_of(network), COLUMNS, rows)
    facts = {
        "MACs": f"{units.count(cost.macs)} ({units.large(cost.macs)})",
        "params": units.count(cost.params),
    }
    if wanted is not None:
        facts["MACs"] += f"   {units.change(cost.macs, baseline.macs)} of {units.count(baseline.macs)}"
        facts["params"] += (
            f"   {units.change(cost.params, baseline.params)} of {units.count(baseline.params)}"
        )
    show.facts(facts)
    for line in (*network.notes, *cost.notes):
        show.note(line)
    note_ignored(show, ignored)


def _list_archs(show: Out) -> None:
    """The built-in networks, with what images and how many classes they are made for."""
    from ..archs import registry

    known = [registry.get(name) for name in registry.names()]
    show.json({arch.name: {"classes": arch.num_classes, "input_size": arch.input_size} for arch in known})
    columns: dict[str, Format] = {"arch": str, "classes": units.count, "images": units.shape}
    show.table("", columns, [[arch.name, arch.num_classes, arch.input_size] for arch in known])
    show.note("others are torchvision:NAME, or package.module:factory of your own")


def _refuse_beside_recipe(context: typer.Context) -> None:
    """A recipe says everything itself.

    Raises:
        typer.BadParameter: names the first option that was typed beside it.
    """
    for name in typed(context):
        if name not in ("recipe", "json"):
            raise typer.BadParameter(
                f"{as_option(name)} has no effect with --recipe; leave it out", ctx=context
            )
