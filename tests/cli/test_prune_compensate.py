"""`prune prune --compensate`: what stays makes up for what left, on training images and without training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from prune.engine.network.files import load_network, save_network

pytestmark = pytest.mark.usefixtures("resnet8")

HALF = ("--criterion", "l1", "--flops", 0.5, "--threads", 1)


@pytest.fixture
def file(thin: Path, tmp_path: Path) -> Path:
    """A copy of the thin base network in the working folder."""
    copy = tmp_path / "base.hdf5"
    copy.write_bytes(thin.read_bytes())
    return copy


def test_much_of_the_accuracy_comes_back_without_training(prune, file: Path):
    plain = json.loads(prune("prune", file, *HALF, "--json", "--out", "plain.hdf5").out)
    done = prune("prune", file, *HALF, "--compensate", "--json", "--out", "mended.hdf5")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["macs"], facts["kept"]) == (plain["macs"], plain["kept"])
    top1 = {stage: found["top1"] for stage, found in facts["accuracy"].items()}
    assert list(top1) == ["before", "pruned", "compensated"]
    assert top1["pruned"] == plain["accuracy"]["pruned"]["top1"]
    assert top1["compensated"] > max(plain["accuracy"]["recalibrated"]["top1"], top1["pruned"])
    assert facts["compensation"]["images"] == 512
    assert facts["compensation"]["compensated_layers"] > 0
    assert facts["compensation"]["fitted_blocks"] > 0
    stored = load_network("mended.hdf5")
    assert stored.accuracy["top1"] == top1["compensated"]
    said = {"transfer": "compensate", "images": 512, "fit_blocks": 50}
    assert stored.history[-1]["options"].items() >= said.items()
    measured = json.loads(prune("evaluate", "mended.hdf5", "--threads", 1, "--json").out)
    assert measured["networks"][0]["accuracy"]["top1"] == top1["compensated"]


def test_the_table_says_what_came_of_it_and_the_same_seed_gives_the_same_weights(prune, file: Path):
    words = ("--compensate", "--calibration", 64, "--fit-blocks", 2)
    done = prune("prune", file, *HALF, *words, "--out", "mended.hdf5")
    assert "compensated" in done.out
    assert "64 images are few" in done.err
    assert "before its weights were compensated" in done.err
    assert load_network("mended.hdf5").history[-1]["options"]["fit_blocks"] == 2

    assert prune("prune", file, *HALF, *words, "--out", "again.hdf5").code == 0
    one, two = (load_network(f"{name}.hdf5").model.state_dict() for name in ("mended", "again"))
    assert all((one[name] == two[name]).all() for name in one)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--rate", 0.5, "--calibration", 64),
            "--calibration has no effect without --compensate; leave it out",
        ),
        (("--rate", 0.5, "--fit-blocks", 9), "--fit-blocks has no effect without --compensate; leave it out"),
        (
            ("--flops", 0.5, "--criterion", "l1", "--ranking", "loss"),
            "criterion 'l1' gives none; use obs or obs-measured",
        ),
        (
            ("--schedule", "soft", "--epochs", 1, "--compensate"),
            "--compensate has no effect with --schedule soft; leave it out",
        ),
        (
            ("--method", "sketch", "--keep-rate", "[0.5]*9", "--compensate"),
            "--compensate has no effect with --method sketch; leave it out",
        ),
    ],
)
def test_where_it_has_no_effect_it_is_refused(prune, file: Path, words, message: str):
    done = prune("prune", file, *words)
    assert done.code == 2
    assert message in " ".join(done.err.split())


def test_without_images_there_is_nothing_to_solve_for(prune, file: Path):
    bare = load_network(file)
    save_network("bare.hdf5", replace(bare, accuracy=None))
    done = prune("prune", "bare.hdf5", *HALF, "--compensate")
    assert done.code == 2
    assert "--compensate looks at training images; say which with --dataset or --data-dir" in done.err
    assert not Path("bare-pruned.hdf5").exists()


def test_one_command_prunes_compensates_and_finetunes(prune, file: Path):
    compensated = ("--compensate", "--calibration", 64, "--fit-blocks", 0)
    words = (*compensated, "--finetune", 1, "--lr", 0.005, "--precision", "fp32")
    done = prune("prune", file, *HALF, *words, "--json", "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["path"] == "narrow.hdf5"
    assert facts["finetuned"]["epochs"] == 1
    config = json.loads((Path(facts["finetuned"]["folder"]) / "config.json").read_text())
    assert (config["recalibration"], config["training"]["lr"]) == (0, 0.005)
    assert config["training"]["distill_alpha"] == 0.5
    assert config["teacher"] == str(file.resolve())
    said = prune("prune", file, "--epochs", 2, "--finetune", 1)
    assert (said.code, "--epochs has no effect" in said.err) == (2, True)


def test_finetune_finds_out_whom_a_compensated_network_comes_from(prune, file: Path):
    words = ("--compensate", "--calibration", 64, "--fit-blocks", 0)
    assert prune("prune", file, *HALF, *words, "--out", "narrow.hdf5").code == 0
    tuning = ("finetune", "narrow.hdf5", "--epochs", 1, "--dry-run")
    done = prune(*tuning)
    assert f"{file}, which it was cut from, teaches it" in done.err
    assert "these are not re-estimated" in done.err
    alone = prune(*tuning, "--distill-alpha", 0, "--recalibrate", 2)
    assert alone.code == 0, alone.err
    assert "teaches" not in alone.err
    assert "not re-estimated" not in alone.err
    network = load_network(file)
    save_network(file, replace(network, class_names=("changed",)), force=True)  # another file of that name
    assert "teaches" not in prune(*tuning).err
