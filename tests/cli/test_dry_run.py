"""`--dry-run`: everything is checked, what would be done is said, and nothing is done."""

import json
from pathlib import Path

import pytest
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network

PRUNE = "prune base.hdf5 --dataset digits --quiet"
RUNS = {
    "train-base": "train-base --arch resnet20 --epochs 7 --batch-size 100 --milestones 3,5",
    "finetune": "finetune base.hdf5 --epochs 7",
    "one-shot": f"{PRUNE} --flops 0.5",
    "layer-by-layer": f"{PRUNE} --schedule layer-by-layer --rate 0.5 --epochs 3",
    "soft": f"{PRUNE} --schedule soft --rate-dist 0.4 --epochs 3",
    "sketch": f"{PRUNE} --method sketch --keep-rate [0.6]*9",
    "resrep": f"{PRUNE} --method resrep --epochs 7",
}


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS.keys())
@pytest.mark.parametrize("named", [False, True])
def test_nothing_is_written(words: str, named: bool, prune, file: Path):
    before, kept = files(file.parent), file.read_bytes()
    out = ["--out", "made" if "--epochs" in words else "made.hdf5"] if named else []
    ended = prune(*words.split(), *out, "--dry-run")
    assert ended.code == 0, ended.err
    assert "MACs" in ended.out
    assert files(file.parent) == before
    assert file.read_bytes() == kept


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS.keys())
def test_one_object_says_it_all(words: str, prune, file: Path):
    ended = prune(*words.split(), "--dry-run", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert facts["dry_run"] is True
    assert facts["arch"] == "resnet20"
    assert facts["path"]
    trains = "--epochs" in words
    assert ("training" in facts) == trains
    narrows = words.startswith("prune") and "resrep" not in words
    assert (facts["macs"] < facts["baseline"]["macs"]) == bool(facts["channels"]) == narrows


@pytest.mark.usefixtures("few_digits", "resnet8")
@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
def test_what_it_says_of_costs_is_what_comes_out(residual: str, prune):
    save_network("base.hdf5", new_network("resnet8", input_size=16))
    words = f"{PRUNE} --rate 0.5 --residual {residual} --json".split()
    said = json.loads(prune(*words, "--dry-run").out)
    done = json.loads(prune(*words).out)
    assert (said["macs"], said["params"], said["path"]) == (done["macs"], done["params"], done["path"])
    assert {name: kept for name, (kept, _) in said["channels"].items()} == {
        name: len(done["kept"][name]) for name in said["channels"]
    }


def test_a_budget_that_scores_will_share_out_says_so(prune, file: Path):
    said = prune("prune", file, "--flops", "0.5", "--dataset", "digits", "--dry-run")
    assert "depends on the scores" in said.err
    said = prune("prune", file, "--rate", "0.5", "--dataset", "digits", "--dry-run")
    assert "depends on the scores" not in said.err


def test_what_it_says_of_training_is_in_words_too(prune, file: Path):
    words = "train-base --arch resnet20 --epochs 7 --batch-size 100 --lr 0.2 --milestones 3,5 --gamma 0.5"
    code, out, err = prune(*words.split(), "--warmup-epochs", "2", "--nesterov", "--dry-run")
    assert code == 0
    assert "7, of 15 steps on 100 images" in out
    assert "0.2, times 0.5 after epochs 3, 5, after 2 epochs of rising" in out
    assert "0.9, Nesterov's" in out
    assert err.endswith("dry run: nothing was written; runs/train-base-resnet20-digits-NNN would be\n")
    code, out, _ = prune(*RUNS["layer-by-layer"].split(), "--dry-run")
    assert code == 0
    assert "3 for each of 9 layers, 27 in all, of 12 steps" in out
    assert "0.01, to 0 along a cosine" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("finetune base.hdf5 --out base.hdf5", "base.hdf5"),
        ("prune base.hdf5 --flops 0.5 --out base.hdf5", "base.hdf5"),
        ("prune base.hdf5 --flops 0.001 --dataset digits", "out of reach"),
        ("prune base.hdf5 --compress-rate [0.5]*3 --dataset digits", "3 rates given"),
        ("prune base.hdf5 --scores nowhere.hdf5 --flops 0.5 --dataset digits", "nowhere.hdf5"),
        ("prune base.hdf5 --criterion l3 --flops 0.5 --dataset digits", "no criterion 'l3'"),
        ("prune base.hdf5 --flops 0.5 --data-dir nowhere", "nowhere"),
        ("prune base.hdf5 --method sketch --keep-rate [0.6]*5 --dataset digits", "5 rates given"),
        ("prune base.hdf5 --method resrep --flops 0.001 --dataset digits", "out of reach"),
        ("train-base --arch resnet20 --epochs 3 --milestones 5", "milestones"),
        ("train-base --arch resnet20 --resume runs/x", "leave out"),
    ],
)
def test_what_would_fail_fails_now(words: str, message: str, prune, file: Path):
    before = files(file.parent)
    ended = prune(*words.split(), "--dry-run")
    assert ended.code == 2
    assert message in ended.err
    assert files(file.parent) == before
