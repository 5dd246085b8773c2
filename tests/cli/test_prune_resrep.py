"""`prune prune --method resrep`, typed out on a small network of the user's own."""

import inspect
import json
import re
import textwrap
from pathlib import Path

import pytest
import torch
from prune.cli import prune, prune_asked
from prune.cli.main import main
from prune.engine import recipes
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.schedules.gradient_resetting import GradientResetting

MODULE = """
    from torch import nn

    def net(num_classes):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, num_classes),
        )
"""
START = ["prune", "base.hdf5", "--arch", "cli_user:net", "--dataset", "digits", "--method", "resrep"]
SHORT = ["--epochs", "2", "--batch-size", "32", "--lr", "0.02", "--precision", "fp32", "--threads", "1"]
MASKS = ["--flops-target", "0.4", "--lasso", "0.002", "--mask-after", "0", "--mask-interval", "5"]


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`base.hdf5` in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_user.py").write_text(textwrap.dedent(MODULE))
    save_network("base.hdf5", new_network("cli_user:net", num_classes=10, input_size=(3, 16, 16)))
    torch.set_num_threads(1)


def test_a_run_says_what_it_did_and_leaves_both_networks(capsys: pytest.CaptureFixture[str]):
    assert main([*START, *SHORT, *MASKS, "--out", "run"]) == 0
    output = capsys.readouterr()
    assert re.search(r"^before\s.*\n^trained, with compactors\s.*\n^folded\s", output.out, re.M)
    assert "2 compactors, --residual internal" in output.err
    epochs = re.findall(r"^epoch \d/2 .*  (\d+) masked, ([\d.]+)% of MACs$", output.err, re.M)
    assert len(epochs) == 2
    assert float(epochs[-1][1]) <= 40
    assert re.search(r"warning: \d+ masked rows are still longer than 1e-05 and stay", output.err)
    assert "warning: the target of" in output.err
    for name in ("final", "deploy"):
        load_network(Path("run") / f"{name}.hdf5", "cli_user:net")
    masks = [line for line in Path("run/log.jsonl").read_text().splitlines() if '"MasksSet"' in line]
    assert len(masks) == 2 * 45 // 5


@pytest.mark.usefixtures("few_digits")
def test_json_has_the_stable_keys(capsys: pytest.CaptureFixture[str]):
    assert main([*START, *SHORT, *MASKS, "--out", "run", "--json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"arch", "macs", "params", "baseline", "layers", "kept", "residual", "pinned"} <= facts.keys()
    assert facts["path"] == "run/deploy.hdf5"
    assert [len(facts["kept"][name]) for name in ("0", "3")] == [
        layer["out"] for layer in facts["layers"][:2]
    ]
    assert facts["accuracy"]["trained"]["top1"] == facts["accuracy"]["folded"]["top1"]


@pytest.mark.usefixtures("few_digits")
def test_an_interrupted_run_goes_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    from prune.engine.training import trainer

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(trainer.Trainer, "_finish", interrupt)
        assert main([*START, *SHORT, *MASKS, "--out", "run"]) == 130
    assert "go on with: prune prune --resume run" in capsys.readouterr().err
    assert not Path("run/deploy.hdf5").exists()
    assert main(["prune", "--resume", "run", "--threads", "1"]) == 0
    assert "resuming run after epoch 2 of 2" in capsys.readouterr().err
    assert Path("run/deploy.hdf5").exists()
    assert main(["prune", "--resume", "run"]) == 2
    assert "run is finished: its networks are run/final.hdf5 and run/deploy.hdf5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*START, "--criterion", "l2"], "--criterion has no effect with --method resrep; leave it out"),
        ([*START, "--plan-out", "p.json"], "--plan-out has no effect with --method resrep; leave it out"),
        (
            ["prune", "base.hdf5", "--lasso", "1e-3"],
            "--lasso has no effect with --schedule one-shot; leave it out",
        ),
        (
            ["prune", "base.hdf5", "--epochs", "3"],
            "--epochs has no effect with --schedule one-shot; leave it out",
        ),
        (["prune", "--resume", "run", "--lr", "1"], "a resumed run keeps the settings it was begun with"),
        ([*START, "--flops", "0.001"], "out of reach: with one channel left behind each of the 2 compactors"),
        ([*START, "--lasso", "0"], "lasso is 0.0; it must be above 0"),
        (
            [*START, "--residual", "scatter"],
            "--method resrep knows no --residual scatter; choose internal or coupled",
        ),
        (
            ["prune", "--arch", "resnet20", "--method", "resrep"],
            "train one with `prune train-base --arch resnet20`",
        ),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    before = sorted(Path().iterdir())
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert sorted(path for path in Path().iterdir() if path.name != "__pycache__") == before


def test_the_help_names_the_published_masks(capsys: pytest.CaptureFixture[str]):
    main(["prune", "--help"])
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    published = GradientResetting()
    for option, value in [
        ("pulled to zero.", published.lasso),
        ("before the first masks.", published.mask_after),
        ("to the next.", published.mask_interval),
        ("each time.", published.granularity),
    ]:
        assert re.search(rf"{re.escape(option)} Default: {value:f}".rstrip("0").rstrip("."), text), option


def test_every_option_is_heard_everywhere_or_by_some_way():
    """A new option of `prune prune` must say which ways listen to it."""
    known = set(inspect.signature(prune.command).parameters) - {"context"}
    by_way = {name for names in prune_asked.HEARD.values() for name in names}
    assert known == {*prune_asked.EVERYWHERE, *by_way}


def test_what_a_recipe_for_another_method_says_is_not_heard(capsys: pytest.CaptureFixture[str]):
    """Its rates and its way of training are those of another schedule."""
    save_network("base56.hdf5", new_network("resnet56", input_size=16))
    recipe = next(name for name in recipes.names() if name.startswith("filtersketch/resnet56"))
    words = f"prune base56.hdf5 --recipe {recipe} --method resrep --dataset digits --dry-run --json".split()
    assert main(words) == 0, capsys.readouterr().err
    training = json.loads(capsys.readouterr().out)["training"]
    assert (training["decay_rule"], training["lr_schedule"]) == ("resrep", "cosine")
