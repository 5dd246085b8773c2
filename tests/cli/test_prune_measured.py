"""`prune prune FILE --flops 0.5`: the network says what leaves it, and what stays makes up for that."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from prune.engine.network.network import load_network, save_network


def bare(file: Path) -> Path:
    """The network without the images that it was measured on."""
    network = load_network(file)
    save_network("bare.hdf5", replace(network, accuracy=None))
    return Path("bare.hdf5")


def test_a_budget_alone_measures_and_compensates(prune, file: Path):
    few = ("--limit", 1, "--calibration", 256)
    done = prune("prune", file, "--flops", 0.5, *few, "--json", "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    assert "measured on 128 training images, and what stays is compensated on 256: about " in done.err
    facts = json.loads(done.out)
    top1 = {stage: found["top1"] for stage, found in facts["accuracy"].items()}
    assert list(top1) == ["before", "pruned", "compensated"]
    plain = json.loads(
        prune("prune", file, "--flops", 0.5, "--criterion", "l1", "--json", "--out", "plain.hdf5").out
    )
    assert top1["compensated"] > plain["accuracy"]["recalibrated"]["top1"] + 5
    assert facts["macs"] <= 0.5 * facts["baseline"]["macs"]
    said = load_network("narrow.hdf5").history[-1]["options"]
    assert said.items() >= {"criterion": "obs-measured", "ranking": "loss", "transfer": "compensate"}.items()

    # The very same, each part asked for by name, with scores that were saved in between.
    words = ("--criterion", "obs-measured", "--limit", 1, "--out", "scores.hdf5", "--quiet")
    assert prune("rank", file, *words).code == 0
    words = ("--scores", "scores.hdf5", "--ranking", "loss", "--compensate", "--calibration", 256)
    again = prune("prune", file, "--flops", 0.5, *words, "--json", "--out", "again.hdf5")
    assert again.code == 0, again.err
    assert json.loads(again.out)["kept"] == facts["kept"]
    one, two = (load_network(f"{name}.hdf5").model.state_dict() for name in ("narrow", "again"))
    assert all((one[name] == two[name]).all() for name in one)


def test_without_images_filters_leave_by_their_weights(prune, file: Path):
    done = prune("prune", bare(file), "--flops", 0.5, "--json", "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    assert "filters leave by l1, which looks at weights alone; a trained network and images" in done.err
    assert "criterion" in load_network("narrow.hdf5").history[-1]["options"]
    plain = prune("prune", "bare.hdf5", "--criterion", "l1", "--json", "--out", "b.hdf5")
    assert json.loads(plain.out)["kept"] == json.loads(done.out)["kept"]
    refused = prune("prune", "bare.hdf5", "--flops", 0.5, "--calibration", 64, "--out", "c.hdf5")
    assert refused.code == 2
    assert "--calibration has no effect without images" in " ".join(refused.err.split())


@pytest.mark.parametrize("words", [("--rate", 0.5), ("--flops", 0.5, "--ranking", "global")])
def test_whoever_says_more_gets_what_it_says(prune, file: Path, words):
    done = prune("prune", file, *words, "--json", "--out", "narrow.hdf5", "--dry-run")
    assert done.code == 0, done.err
    assert "no --criterion" not in done.err
