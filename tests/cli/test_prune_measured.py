"""`prune prune FILE --flops 0.5`: the network says what leaves it, and what stays makes up for that."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prune.engine.network.files import load_network, save_network

pytestmark = pytest.mark.usefixtures("resnet8")


@pytest.fixture
def file(thin: Path, tmp_path: Path) -> Path:
    """A copy of the thin base network in the working folder."""
    copy = tmp_path / "base.hdf5"
    copy.write_bytes(thin.read_bytes())
    return copy


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


def test_max_drop_finds_the_budget(prune, file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("prune.engine.jobs.search.FINEST", 1 / 4)
    few = ("--limit", 1, "--calibration", 64, "--fit-blocks", 2, "--threads", 1)
    done = prune("prune", file, "--max-drop", 2, *few, "--json", "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    assert "training images held back are right before anything leaves" in done.err
    trials = {
        float(share): float(drop)
        for share, drop in re.findall(r"([\d.]+)% of the MACs: ([+-][\d.]+) points lost there", done.err)
    }
    allowed = [share for share, drop in trials.items() if drop <= 2]
    said = load_network("narrow.hdf5").history[-1]["options"]
    assert said["max_drop"] == 2
    assert 100 * said["flops"] == pytest.approx(min(allowed), abs=0.06)
    assert all(drop <= 2 or share < min(allowed) for share, drop in trials.items())
    facts = json.loads(done.out)
    assert facts["macs"] <= said["flops"] * facts["baseline"]["macs"]

    # The network that is written is the one that was tried.
    again = prune("prune", file, "--flops", said["flops"], *few, "--json", "--out", "again.hdf5")
    assert json.loads(again.out)["kept"] == facts["kept"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flops", 0.5), "--max-drop and --flops/--params exclude each other"),
        (("--schedule", "soft"), "--max-drop has no effect with --schedule soft"),
        (("--calibration", 2000), "of 1437 the first 2000 are taken; give --calibration fewer"),
    ],
)
def test_what_max_drop_does_not_go_with(prune, file: Path, words, message: str):
    done = prune("prune", file, "--max-drop", 1, *words, "--limit", 1)
    assert done.code == 2
    assert message in " ".join(done.err.split())


def test_max_drop_needs_images(prune, file: Path):
    done = prune("prune", bare(file), "--max-drop", 1)
    assert done.code == 2
    assert "--max-drop looks at training images; say which with --dataset or --data-dir" in done.err


def test_sensitivity_shows_what_widths_cost(prune, file: Path):
    few = ("--sensitivity", "--criterion", "obs", "--limit", 1, "--threads", 1)
    done = prune("rank", file, *few, "--out", "scores.hdf5")
    assert done.code == 0, done.err
    title, heading, _, *rows = done.out.rstrip().splitlines()
    assert title == "what widths of resnet8 cost"
    assert heading.split()[:5] == ["layer", "channels", "-25%", "-50%", "-75%"]
    facts = json.loads(prune("rank", file, *few, "--out", "again.hdf5", "--json").out)
    assert len(rows) == len(facts["losses"]) == 6
    for row in rows:
        name, channels, quarter, half, most, curve = row.split()
        losses = facts["losses"][name]
        assert losses[0] == 0
        assert losses == sorted(losses)
        assert float(half) == pytest.approx(losses[int(channels) // 2], rel=0.01)
        assert float(quarter) <= float(half) <= float(most)
        assert len(curve) == 8
        assert list(curve) == sorted(curve)
    refused = prune("rank", file, "--sensitivity", "--criterion", "l1")
    assert refused.code == 2
    assert "criterion l1 gives none; use obs or obs-measured" in " ".join(refused.err.split())


def test_what_would_take_too_long_is_estimated(prune, file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("prune.engine.jobs.measured.LONGEST", 0)
    few = ("--limit", 1, "--calibration", 64, "--fit-blocks", 0)
    done = prune("prune", file, "--flops", 0.5, *few, "--out", "narrow.hdf5")
    assert "is estimated on 128 training images" in done.err
    assert load_network("narrow.hdf5").history[-1]["options"]["criterion"] == "obs"


def test_max_drop_that_nothing_meets(prune, file: Path, monkeypatch: pytest.MonkeyPatch):
    answers = iter([90.0, 10.0, 10.0])
    monkeypatch.setattr("prune.engine.jobs.search.FINEST", 1 / 2)
    monkeypatch.setattr("prune.engine.jobs.search._top1", lambda *_: next(answers))
    few = ("--limit", 1, "--calibration", 64, "--fit-blocks", 0, "--threads", 1)
    done = prune("prune", file, "--max-drop", 2, *few, "--out", "narrow.hdf5")
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "50.0% of the multiply-accumulates gone, more than 2 points are lost; give --max-drop more" in said
    assert not Path("narrow.hdf5").exists()
