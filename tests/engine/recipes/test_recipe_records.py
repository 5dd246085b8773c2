"""Records: frozen, checking themselves, cheap to list, and in step with the commands they speak to."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from decimal import Decimal

import pytest
from prune.archs import registry
from prune.engine import recipes
from prune.engine.data import names as data_names
from prune.engine.errors import AllocationError, RecipeError
from prune.engine.recipes.account import variant_allocation
from prune.engine.recipes.check import check_arch, check_narrow
from prune.engine.recipes.counts import COUNTS
from prune.engine.recipes.printed import prints_amount, prints_drop, read_amount, read_percent
from prune.engine.recipes.recipe import Published, Training, Variant
from prune.engine.selection.allocation import Allocation
from prune.engine.training.config import TrainConfig

RESNET56 = recipes.get("hrank/resnet56")


def test_listing_costs_no_torch():
    code = "import sys; from prune.engine import recipes; recipes.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", recipes.names())
def test_what_a_record_names_exists(name):
    recipe = recipes.get(name)
    assert registry.get(recipe.arch).name == recipe.arch
    assert recipe.dataset in data_names()
    assert recipe.counted_as in COUNTS
    assert not recipe.drop_from or recipe.drop_from in COUNTS
    for variant in recipe.variants:
        assert isinstance(variant_allocation(variant), Allocation)
    for training in filter(None, (recipe.base, recipe.pruning, recipe.finetuning)):
        said = {f.name: value for f in fields(training) if (value := getattr(training, f.name)) is not None}
        TrainConfig(**{"epochs": 1, "lr": 0.1, **said})


def test_records_are_frozen():
    with pytest.raises(FrozenInstanceError):
        RESNET56.arch = "resnet20"
    with pytest.raises(TypeError):
        RESNET56.main.specification["residual"] = "internal"
    with pytest.raises(TypeError):
        RESNET56.options["limit"] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": 54}, "recipe 'hrank/resnet56', variant 'scatter': 55 rates, not 54"),
        ({"variants": ()}, "its variants are"),
        ({"variants": (RESNET56.main, RESNET56.main)}, "give each a name of its own"),
        ({"counted": "as_code"}, "no variant 'as_code' among scatter, internal_only"),
        ({"published": Published(flops="62,7M")}, "'62,7M' is no printed amount"),
        ({"published": Published(flops_drop="50")}, "'50' is no printed percentage"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(RecipeError, match=message):
        replace(RESNET56, **change)


def test_rates_that_cannot_be_read_are_refused():
    with pytest.raises(AllocationError, match=r"write '\[0.5\]\*3'"):
        Variant(name="slip", specification={"compress_rate": "3*[0.5]"})


@pytest.mark.parametrize("milestones", [(0, 5), (5, 5), (5, 30), (10, 5)])
def test_milestones_that_are_never_reached_are_refused(milestones):
    with pytest.raises(RecipeError, match="do not rise within 30 epochs"):
        Training(epochs=30, milestones=milestones)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("hrank/resnet65", "no recipe 'hrank/resnet65'; did you mean 'hrank/resnet56'?"),
        ("xyz", "no recipe 'xyz'; prune recipes lists them"),
    ],
)
def test_an_unknown_name_offers_the_nearest(wrong, hint):
    with pytest.raises(RecipeError) as error:
        recipes.get(wrong)
    assert str(error.value) == hint


def test_globs_find_recipes_in_table_order():
    names = [recipe.name for recipe in recipes.matching("filtersketch/resnet50-*")]
    assert names == [f"filtersketch/resnet50-{rate}" for rate in (0.2, 0.4, 0.6, 0.7)]


@pytest.mark.parametrize("command", ["train-base", "prune", "finetune"])
def test_options_are_parameters_of_their_commands(command):
    from importlib import import_module
    from inspect import signature

    known = signature(import_module(f"prune.cli.{command.replace('-', '_')}").command).parameters
    for recipe in recipes.matching("*"):
        if command == "finetune" and recipe.finetuning is None:
            continue
        assert recipe.options_of(command).keys() <= known.keys(), recipe.name


def test_resrep_finds_its_widths_itself():
    options = recipes.get("resrep/resnet50").options_of("prune")
    assert "deps" not in options
    assert options["flops"] == "0.455"


def test_a_residual_mode_chooses_its_variant():
    fpgm = recipes.get("fpgm/resnet18-30")
    assert fpgm.options_of("prune")["skip"] == ["*.projection.*"]
    assert "skip" not in fpgm.options_of("prune", "coupled")


@pytest.mark.parametrize(
    ("exact", "printed", "agrees"),
    [
        (62_715_530, "62.72M", True),
        (48_726_848, "48.72M", True),  # cut off
        (48_726_848, "48.73M", True),  # rounded
        (48_726_848, "48.74M", False),
        (111_506_240, "111.5M", True),
        (23_430_758, "2.34E7", True),
        (23_430_758, "2.43E7", False),
        (1_549_652_456, "1.55B", True),
        (1_858_262, "1.86M", True),
    ],
)
def test_amounts_are_rounded_or_cut_off(exact, printed, agrees):
    assert prints_amount(exact, printed) is agrees


def test_percentages_may_be_of_the_rounded_numbers():
    assert prints_drop(664_630, 1_040_578, "36.1%")
    assert not prints_drop(664_630, 1_040_578, "36.5%")
    assert prints_drop(664_630, 1_040_578, "36.5%", "0.66M")  # 1 - 0.66 / 1.04
    assert not prints_drop(664_630, 1_040_578, "36.5%", "0.64M")  # it would not be printed so


def test_printed_numbers_are_read_with_their_last_digit():
    assert read_amount("0.45B") == (450_000_000, 10_000_000)
    assert read_amount("1.87E7") == (18_700_000, 100_000)
    assert read_percent("90.45%") == (Decimal("90.45"), Decimal("0.01"))


@pytest.fixture(scope="module")
def full_resnet20():
    from prune.engine.network.fresh import new_network

    return new_network("resnet20", seed=0)


def _narrowed(network, recipe, **changes):
    from prune.engine.narrowing.pruning import prune_network

    allocation = replace(variant_allocation(recipe.main), **changes)
    return allocation, prune_network(network, allocation, {})


def test_what_came_out_is_held_against_the_record(full_resnet20):
    recipe = recipes.get("fpgm/resnet20-40")
    allocation, pruned = _narrowed(full_resnet20, recipe)
    said = check_narrow(recipe, pruned.network, allocation, pruned.after)
    assert said == "as fpgm/resnet20-40 says (scatter): 19,586,368 MACs, 130,675 params"


def test_a_difference_is_loud(full_resnet20):
    recipe = recipes.get("fpgm/resnet20-40")
    allocation, pruned = _narrowed(full_resnet20, recipe)
    other = replace(pruned.after, macs=pruned.after.macs - 1)
    with pytest.raises(RecipeError, match="leaves 19,586,368 MACs and 130,675 params, but 19,586,367"):
        check_narrow(recipe, pruned.network, allocation, other)


def test_another_allocation_is_not_held_against_it(full_resnet20):
    recipe = recipes.get("fpgm/resnet20-40")
    allocation, pruned = _narrowed(full_resnet20, recipe, rate_dist=0.2)
    said = check_narrow(recipe, pruned.network, allocation, pruned.after)
    assert said == "not held against fpgm/resnet20-40: what leaves is not what it says"


def test_another_number_of_classes_is_not_held_against_it(full_resnet20):
    recipe = recipes.get("fpgm/resnet20-40")
    allocation, pruned = _narrowed(full_resnet20, recipe)
    network = replace(pruned.network, num_classes=100)
    said = check_narrow(recipe, network, allocation, pruned.after)
    assert said == "not held against fpgm/resnet20-40, which is for 10 classes and 3x32x32 images"


def test_the_wrong_arch_names_both():
    with pytest.raises(RecipeError, match="'hrank/resnet56' is for arch 'resnet56', this network is 'vgg16'"):
        check_arch(RESNET56, "vgg16")
