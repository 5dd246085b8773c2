"""`prune prune --schedule layer-by-layer|soft|hard`, and `train-base --like`, typed out."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import warm
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.sources import Images, find_network

pytestmark = pytest.mark.usefixtures("few_digits")

SHORT = ("--batch-size", 64, "--lr", "0.02", "--precision", "fp32", "--threads", 1)
SOFT = ("--schedule", "soft", "--rate-dist", 0.4, "--epochs", 2, *SHORT)
LAYERS = (
    *("--schedule", "layer-by-layer", "--rate", 0.5, "--skip", "stage[12]*", "--epochs", 2),
    *("--milestones", 1, *SHORT),
)


TINY = """
from torch import nn

def tiny(num_classes):
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, num_classes))
"""


def test_soft_masks_end_in_a_narrow_network(prune, resnet8: None):
    save_network("base.hdf5", new_network("resnet8", input_size=16))
    done = prune("prune", "base.hdf5", "--dataset", "digits", *SOFT, "--residual", "coupled", "--out", "run")
    assert done.code == 0, done.err
    assert re.search(r"^epoch 1/2 .* masked, [\d.]+% of MACs$", done.err, re.M)
    tops = dict(re.findall(r"^(before|masked, BN live|masked|narrow)  .* ([\d.]+%)$", done.out, re.M))
    assert set(tops) == {"before", "masked, BN live", "masked", "narrow"}
    assert tops["masked"] == tops["narrow"]
    assert "train it further with `prune finetune run/narrow.hdf5`" in done.err
    tested = prune("evaluate", "run/final.hdf5", "run/narrow.hdf5", "--threads", 1)
    assert re.findall(r"^run/\S+ +([\d.]+%)", tested.out, re.M) == [tops["narrow"]] * 2


def test_layers_take_turns(prune, file: Path):
    done = prune("prune", file, *LAYERS, "--batch-size", 120, "--start-conv", 2, "--out", "run", "--json")
    assert done.code == 0, done.err
    assert re.findall(r"^(conv .*) filters masked", done.err, re.M) == [
        "conv 2 of 3: stage3.block1.conv1.conv, 32 of 64",
        "conv 3 of 3: stage3.block2.conv1.conv, 32 of 64",
    ]
    assert re.findall(r"^epoch (\d)/4 .* lr ([\d.]+)", done.err, re.M) == [
        ("1", "0.02"),
        ("2", "0.002"),
        ("3", "0.02"),
        ("4", "0.002"),
    ]
    facts = json.loads(done.out)
    assert {"arch", "macs", "params", "baseline", "layers", "kept", "residual", "pinned"} <= facts.keys()
    assert facts["path"] == "run/narrow.hdf5"
    assert facts["accuracy"]["masked"]["top1"] == facts["accuracy"]["narrow"]["top1"]
    kept = {name: len(filters) for name, filters in facts["kept"].items()}
    assert [kept[f"stage3.block{n}.conv1.conv"] for n in range(3)] == [64, 32, 32]


@pytest.fixture
def one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no measurement decide how weights lie in memory: it may come out otherwise the next time."""
    from prune.engine.training import trainer
    from prune.engine.training.precision import Precision

    monkeypatch.setattr(trainer, "choose_precision", lambda *_, **__: Precision())


@pytest.mark.usefixtures("one_layout")
@pytest.mark.parametrize(
    "words", [SOFT, ("--schedule", "layer-by-layer", "--rate", 0.5, "--epochs", 2, "--milestones", 1, *SHORT)]
)
def test_an_interrupted_run_goes_on(prune, words, monkeypatch: pytest.MonkeyPatch):
    from prune.engine.training import trainer

    Path("gradual_tiny.py").write_text(TINY)
    network = new_network("gradual_tiny:tiny", num_classes=10, input_size=(3, 16, 16))
    save_network("tiny.hdf5", network)
    words = ("prune", "tiny.hdf5", "--arch", "gradual_tiny:tiny", "--dataset", "digits", *words)
    assert prune(*words, "--out", "straight").code == 0
    written = trainer.Trainer._write_checkpoint

    def interrupt(self) -> None:
        written(self)
        if self.progress.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(trainer.Trainer, "_write_checkpoint", interrupt)
        stopped = prune(*words, "--out", "run")
    assert stopped.code == 130
    assert "go on with: prune prune --resume run" in stopped.err
    assert not Path("run/narrow.hdf5").exists()
    resumed = prune("prune", "--resume", "run", "--threads", 1)
    assert resumed.code == 0, resumed.err
    assert "resuming run after epoch 1 of" in resumed.err
    for name in ("best", "final", "narrow"):
        assert Path(f"run/{name}.hdf5").read_bytes() == Path(f"straight/{name}.hdf5").read_bytes()
    again = prune("prune", "--resume", "run")
    assert again.code == 2
    assert "run is finished: its networks are run/final.hdf5 and run/narrow.hdf5" in again.err


def test_from_scratch(prune):
    words = ("--arch", "resnet20", "--scratch", "--schedule", "hard", "--rate", 0.5, "--epochs", 1)
    done = prune("prune", *words, *SHORT, "--out", "run")
    assert done.code == 0, done.err
    assert re.search(r"^before .* -$", done.out, re.M)
    assert json.loads(Path("run/config.json").read_text())["start"] is None


def test_a_dry_run_says_how_long_it_would_take(prune, file: Path):
    done = prune("prune", file, *LAYERS, "--dry-run")
    assert done.code == 0, done.err
    assert "2 for each of 3 layers, 6 in all" in done.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*LAYERS, "--start-conv", "stage3.block3.conv1.conv"),
            "no conv 'stage3.block3.conv1.conv' may lose",
        ),
        ((*LAYERS, "--start-conv", 4), "--start-conv 4: 3 convs of this network may lose filters"),
        ((*SOFT, "--prune-every", 3), "--prune-every 3 is more than the 2 epochs there are; give 1 to 2"),
        ((*SOFT, "--start-conv", 2), "--start-conv has no effect with --schedule soft; leave it out"),
        ((*LAYERS, "--prune-every", 2), "--prune-every has no effect with --schedule layer-by-layer"),
        ((*LAYERS, "--scratch"), "--scratch has no effect with --schedule layer-by-layer"),
        ((*LAYERS, "--recalibrate", 5), "--recalibrate has no effect with --schedule layer-by-layer"),
        ((*SOFT, "--scratch"), "--scratch starts from random weights; leave out FILE"),
        ((*SOFT, "--criterion", "l1"), "--criterion has no effect with --rate-norm/--rate-dist"),
        ((*LAYERS, "--milestones", 2), "milestones is (2,); it must be rising epochs from 1 to 1"),
        ((*SOFT, "--out", "base.hdf5"), "base.hdf5"),
        (("--schedule", "hard", "--rate", 0.001, *SHORT), "no filter leaves; say more with --rate"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(prune, file: Path, words, message: str):
    done = prune("prune", file, *words)
    assert done.code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.err).split())
    assert [path.name for path in Path().iterdir()] == ["base.hdf5"]


def test_without_a_trained_network_the_way_on_is_named(prune):
    done = prune("prune", "--arch", "resnet20", *SOFT)
    assert done.code == 2
    assert "`prune train-base --arch resnet20`" in done.err
    assert "or start from random weights with --scratch" in done.err
    done = prune("prune", "--scratch", *SOFT)
    assert done.code == 2
    assert "needs the name of its arch; give --arch" in done.err


def test_another_commands_run_is_not_resumed(prune, base: Path):
    done = prune("prune", "--resume", base)
    assert done.code == 2
    assert f"is a run of train-base; go on with: prune train-base --resume {base}" in done.err


def test_a_narrow_network_is_trained_from_scratch(prune, file: Path):
    assert prune("prune", file, "--rate", 0.5, "--out", "narrow.hdf5", "--threads", 1).code == 0
    done = prune("train-base", "--like", "narrow.hdf5", "--epochs", 1, *SHORT, "--out", "runs/scratch")
    assert done.code == 0, done.err
    like, trained = load_network("narrow.hdf5"), load_network("runs/scratch/final.hdf5")
    shapes = [{n: t.shape for n, t in network.model.state_dict().items()} for network in (like, trained)]
    assert shapes[0] == shapes[1]
    assert [step["command"] for step in trained.history] == ["train-base"]
    settings = json.loads(Path("runs/scratch/config.json").read_text())
    assert settings["like"] == str(Path("narrow.hdf5").resolve())
    source = find_network(None, "resnet20", Images(), num_classes=None, seed=0)
    assert not source.trained, "a narrow network is no base"
    refused = prune("train-base", "--like", "narrow.hdf5", "--num-classes", 7, *SHORT, "--dry-run")
    assert refused.code == 2
    assert "--num-classes 7, but 'narrow.hdf5' tells 10 apart" in refused.err


@pytest.mark.parametrize("schedule", ["soft", "layer-by-layer"])
def test_two_processes_hold_the_same_masks(tmp_path: Path, schedule: str):
    (tmp_path / "tiny_arch.py").write_text(TINY)
    words = ["prune", "base.hdf5", "--arch", "tiny_arch:tiny", "--dataset", "digits", "--rate", "0.5"]
    words += ["--schedule", schedule, "--criterion", "taylor", "--limit", "1", "--epochs", "2"]
    words += ["--batch-size", "128", "--precision", "fp32", "--nproc", "2", "--out", "run", "--json"]
    make = (
        "from prune.engine.network.files import save_network; "
        "from prune.engine.network.fresh import new_network; "
        "save_network('base.hdf5', new_network('tiny_arch:tiny', num_classes=10, input_size=(3, 16, 16)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    for command in (["-c", make], ["-m", "prune", *words]):
        done = warm.run(["-W", "error", *command], tmp_path, environment, fork_workers=True)
        assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert len(facts["kept"]["0"]) == 4
    assert facts["accuracy"]["masked"]["top1"] == facts["accuracy"]["narrow"]["top1"]
    last = "epoch 2/2" if schedule == "soft" else "epoch 4/4"  # two convolutions take turns
    assert done.stderr.count(last) == 1
