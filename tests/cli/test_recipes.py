"""`prune recipes`, `prune flops --recipe`, and --recipe wherever something is run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network
from prune.weights import store

PFEC = "fpgm/vgg16-pfec"
FPGM = "fpgm/resnet20-40"
THREADS = ("--threads", 1)


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, ...]:
    """Options for ten classes of random images of the size that CIFAR's have."""
    pixels = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(10):
            folder = tmp_path / "images" / split / str(label)
            folder.mkdir(parents=True)
            for number in range(2):
                array_HWC = pixels.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(array_HWC).save(folder / f"{number}.png")
    return ("--dataset", "imagefolder", "--data-dir", str(tmp_path / "images"))


@pytest.fixture
def resnet20(tmp_path: Path) -> Path:
    path = tmp_path / "resnet20.hdf5"
    save_network(path, new_network("resnet20", seed=0))
    return path


def test_the_list(prune):
    done = prune("recipes")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["recipe", "arch", "data", "FLOPs", "params", "top-1"]
    row = next(line for line in lines if line.startswith("hrank/resnet56 "))
    assert row.split() == ["hrank/resnet56", "resnet56", "cifar10", "-50.0%", "-42.4%", "93.17%"]


def test_the_list_by_glob_for_machines(prune):
    done = prune("recipes", "resrep/*", "--json")
    found = json.loads(done.out)["recipes"]
    assert [recipe["name"] for recipe in found] == ["resrep/resnet50", "resrep/resnet56"]
    assert found[0]["flops_drop"] == "54.5%"


def test_a_glob_that_matches_nothing(prune):
    done = prune("recipes", "hrank/resnet65")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: no recipe 'hrank/resnet65'; did you mean 'hrank/resnet56'?\n"


def test_one_record(prune):
    done = prune("recipes", "hrank/resnet56")
    assert done.code == 0, done.err
    for words in (
        "62.72M FLOPs (-50.0%), 0.49M params (-42.4%), top-1 93.17%",
        "48,379,456 MACs, 414,854 params",
        "--epochs 30 --lr 0.01 --lr-schedule multistep --milestones 5,10",
        "prune finetune NARROW --recipe hrank/resnet56",
    ):
        assert words in done.out


def test_one_record_for_machines(prune):
    facts = json.loads(prune("recipes", FPGM, "--json").out)
    assert facts["commands"] == {"prune": f"prune prune --recipe {FPGM}"}  # from scratch: no base
    assert facts["record"]["pruning"]["nesterov"] is True
    assert [variant["name"] for variant in facts["record"]["variants"]] == [
        *("scatter", "internal_only", "group_coupled")
    ]


@pytest.mark.parametrize("name", ["resrep/resnet56", "fpgm/resnet18-30-pretrained", "filtersketch/googlenet"])
def test_commands_of_a_record_are_commands(prune, name):
    """Each line is understood up to where it needs a file or images that are not there."""
    for line in json.loads(prune("recipes", name, "--json").out)["commands"].values():
        program, *words = line.split()
        assert program == "prune"
        ended = prune(*words, "--data-dir", "nowhere") if "convert" not in words else prune(*words, "--help")
        assert "Traceback" not in ended.err
        assert ended.code in (0, 2)
        assert "No such option" not in ended.err


def test_flops_of_one_recipe(prune):
    done = prune("flops", "--recipe", FPGM)
    assert done.code == 0, done.err
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line[:1].isalpha()}
    assert rows["published"][1:3] == ["1.87E7", "-54.0%"]
    assert rows["scatter"][1:3] == ["18,667,929", "-54.0%"]
    assert rows["scatter"][5:] == ["yes", "19,586,368", "-51.7%", "130,675", "-51.6%", "yes"]
    assert rows["internal_only"][-5:] == ["25,307,776", "-37.6%", "166,072", "-38.4%", "yes"]


def test_flops_of_one_recipe_for_machines(prune):
    facts = json.loads(prune("flops", "--recipe", "resrep/resnet56", "--json").out)
    assert facts["baseline"] == {"macs": 125_747_840, "params": 855_770}
    assert facts["recipe"]["full"]["paper"]["flops"] == 126_534_272
    assert facts["recipe"]["variants"] == [
        {
            "name": "exact",
            "specification": {"flops": 0.471},
            "paper": None,
            "macs": None,
            "params": None,
            "as_recorded": None,
        }
    ]


def test_the_error_is_explained_below(prune):
    done = prune("flops", "--recipe", "fpgm/resnet20-30")
    assert "not flops" in done.out
    assert "two digits swapped: 2.34E7" in done.out


def test_flops_of_all_recipes(prune, monkeypatch):
    """Two papers stand for all of them here; the engine's tests count every row."""
    from prune.engine import recipes

    some = (*recipes.matching("hrank/vgg16"), *recipes.matching("fpgm/resnet20-*"))
    monkeypatch.setattr(recipes, "matching", lambda glob: some)
    done = prune("flops", "--recipe", "all")
    assert done.code == 0, done.err
    assert re.search(r"^as printed +2 of 4 rows, 2 explained below *$", done.out, re.M)
    assert re.search(r"^as recorded +5 of 5 recipes, every variant counted *$", done.out, re.M)
    assert "never prunes the 13th convolution" in done.out
    assert len(json.loads(prune("flops", "--recipe", "all", "--json").out)["recipes"]) == len(some)


def test_a_record_that_no_longer_holds_is_loud(prune, monkeypatch):
    from dataclasses import replace

    from prune.engine import recipes

    recipe = recipes.get(FPGM)
    wrong = replace(recipe, variants=(replace(recipe.main, macs=1), *recipe.variants[1:]))
    monkeypatch.setattr(recipes, "get", lambda name: wrong)
    done = prune("flops", "--recipe", FPGM)
    assert done.code == 2
    assert done.err == f"error: no longer the networks that are recorded: {FPGM}\n"
    assert re.search(r"^scatter .* NO$", done.out, re.M)


def test_a_recipe_says_everything_itself(prune):
    done = prune("flops", "--recipe", FPGM, "--rate", 0.5)
    assert done.code == 2
    assert "--rate has no effect with --recipe; leave it out" in done.err


def test_pruning_by_a_recipe_is_held_against_it_and_not_done_twice(prune, images, resnet20):
    words = ("--recipe", FPGM, "--schedule", "one-shot", *images, *THREADS)
    done = prune("prune", resnet20, *words, "--out", "n.hdf5")
    assert done.code == 0, done.err
    assert f"as {FPGM} says (scatter): 19,586,368 MACs, 130,675 params" in done.err
    options = store.read("n.hdf5").meta["history"][-1]["options"]
    assert (options["recipe"], options["rate_dist"], options["residual"]) == (FPGM, 0.4, "scatter")

    again = prune("prune", "n.hdf5", *words, "--quiet", "--out", "twice.hdf5")
    assert again.code == 2
    assert "start from a network that nothing has left" in again.err
    assert not Path("twice.hdf5").exists()


def test_what_is_typed_wins(prune, images, resnet20):
    words = ("prune", resnet20, "--recipe", FPGM, "--schedule", "one-shot", *images, *THREADS, "--dry-run")
    facts = json.loads(prune(*words, "--residual", "internal", "--json").out)
    assert facts["macs"] == 25_307_776
    facts = json.loads(prune(*words, "--flops", 0.8, "--json").out)  # instead of the recipe's two rates
    assert facts["macs"] == pytest.approx(0.8 * 40_551_040, rel=0.02)
    facts = json.loads(prune(*words, "--rate-dist", 0.3, "--json").out)  # beside its other rate
    assert facts["macs"] == 24_721_984
    scratch = ("prune", "--recipe", FPGM, *images, *THREADS, "--dry-run", "--json")
    for way in (("--distance", "l1"), ("--distance", "cosine"), ("--prune-every", 10)):
        facts = json.loads(prune(*scratch, *way).out)
        assert facts["macs"] == 19_586_368


def test_another_choice_is_not_held_against_the_recipe(prune, images, resnet20):
    words = ("--recipe", FPGM, "--schedule", "one-shot", "--rate-dist", 0.2, *images, *THREADS)
    done = prune("prune", resnet20, *words, "--out", "n.hdf5")
    assert done.code == 0, done.err
    assert f"not held against {FPGM}: what leaves is not what it says" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("prune", "resnet20.hdf5", "--recipe", "hrank/resnet56"),
        ("prune", "--arch", "resnet20", "--recipe", "hrank/resnet56"),
        ("finetune", "resnet20.hdf5", "--recipe", "hrank/resnet56"),
        ("train-base", "--arch", "resnet20", "--recipe", "hrank/resnet56"),
    ],
)
def test_the_wrong_network_names_both_archs(prune, resnet20, words):
    done = prune(*words)
    assert done.code == 2
    assert done.err == (
        "error: recipe 'hrank/resnet56' is for arch 'resnet56', this network is 'resnet20'; "
        "prune recipes lists others\n"
    )


@pytest.mark.parametrize("command", ["prune", "finetune", "train-base"])
def test_an_unknown_recipe_is_refused_first(prune, command):
    done = prune(command, "--recipe", "hrank/resnet65", "--arch", "nonsense")
    assert (done.code, done.err) == (
        2,
        "error: no recipe 'hrank/resnet65'; did you mean 'hrank/resnet56'?\n",
    )


def test_a_recipe_without_finetuning_says_so(prune, resnet20):
    done = prune("finetune", resnet20, "--recipe", FPGM)
    assert done.code == 2
    assert done.err == (
        f"error: recipe '{FPGM}' ends with pruning, there is no finetuning; run prune prune --recipe {FPGM}\n"
    )


def _training(done) -> dict:
    assert done.code == 0, done.err
    return json.loads(done.out)["training"]


def test_trainings_are_the_recipes(prune, images):
    said = _training(prune("train-base", "--recipe", PFEC, *images, *THREADS, "--dry-run", "--json"))
    assert (said["epochs"], said["lr"], said["batch_size"]) == (160, 0.1, 64)
    assert (said["milestones"], said["gamma"], said["weight_decay"]) == ([80, 120], 0.1, 1e-4)


def test_milestones_keep_their_place(prune, images):
    words = ("train-base", "--recipe", PFEC, *images, *THREADS, "--dry-run", "--json")
    assert _training(prune(*words, "--epochs", 8))["milestones"] == [4, 6]
    assert _training(prune(*words, "--epochs", 8, "--milestones", 7))["milestones"] == [7]
    alone = _training(prune(*words, "--epochs", 1))  # no room for a milestone
    assert (alone["lr_schedule"], alone["milestones"]) == ("cosine", [])
    assert _training(prune(*words, "--lr-schedule", "cosine"))["milestones"] == []


def test_history_names_the_recipe_of_a_training(prune, images, tmp_path):
    recipe = "hrank/resnet56"
    save_network(tmp_path / "base.hdf5", new_network("resnet56", seed=0))
    words = ("--epochs", 1, "--batch-size", 10, "--precision", "fp32", "--recalibrate", 0, "--quiet")
    done = prune("finetune", "base.hdf5", "--recipe", recipe, *images, *THREADS, *words, "--out", "run")
    assert done.code == 0, done.err
    assert store.read("run/final.hdf5").meta["history"][-1]["options"]["recipe"] == recipe
    assert json.loads(Path("run/config.json").read_text())["recipe"] == recipe


def test_a_training_that_prunes_is_held_against_its_recipe_before_it_begins(prune, images):
    words = ("--epochs", 2, "--batch-size", 10, "--precision", "fp32", *THREADS)
    done = prune("prune", "--recipe", FPGM, *images, *words, "--out", "run")
    assert done.code == 0, done.err
    said = f"as {FPGM} says (scatter): 19,586,368 MACs, 130,675 params"
    assert done.err.index(said) < done.err.index("epoch 1/2")
    config = json.loads(Path("run/config.json").read_text())
    assert (config["recipe"], config["schedule"], config["start"]) == (FPGM, "soft", None)
    assert config["training"]["nesterov"] is True
    assert store.read("run/narrow.hdf5").meta["history"][-1]["options"]["recipe"] == FPGM


def test_resrep_is_told_what_its_authors_told_it(prune, images):
    save_network("src56.hdf5", new_network("src56", seed=0))
    words = ("--recipe", "resrep/resnet56", *images, *THREADS, "--dry-run", "--json")
    facts = json.loads(prune("prune", "src56.hdf5", *words).out)
    assert (facts["training"]["epochs"], facts["training"]["batch_size"]) == (480, 64)
