"""Options that say what cannot be: one clear line, exit code 2, nothing on stdout, and the disk as it was."""

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("flops --arch resnet65", "no arch 'resnet65'; did you mean 'resnet56'?"),
        ("rank --arch torchvision:resnet5", "did you mean 'torchvision:resnet50'?"),
        ("train-base --arch nowhere:make", "no module 'nowhere'"),
        ("train-base --arch resnet20 --dataset digts", "no data set 'digts'; did you mean 'digits'?"),
        ("rank base.hdf5 --criterion hrnk", "no criterion 'hrnk'; did you mean 'hrank'?"),
        ("prune base.hdf5 --criterion hrnk", "no criterion 'hrnk'; did you mean 'hrank'?"),
        ("evaluate base.hdf5 --device abacus", "no device 'abacus'; allowed: auto, cpu, cuda, cuda:N"),
        ("convert base.hdf5 new.pth --names darknet", "darknet"),
    ],
)
def test_unknown_names(words: str, line: str, refused, file: Path):
    assert line in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--compress-rate [0.5]*4", "4 rates given; this network takes 7, one per convolution"),
        ("--compress-rate [0.5]*6+[1.0]", "rate 7 of '[0.5]*6+[1.0]' is 1; a share that is removed"),
        ("--compress-rate 3*[0.5]", "write '[0.5]*3'"),
        ("--keep-rate [0.0]*7", "rate 1 of '[0.0]*7' is 0; a share that is kept"),
        ("--rate 1", "the rate is 1; a share that is removed lies from 0 up to, not including, 1"),
        ("--rate 1.5", "Invalid value for '--rate'"),
        ("--rate=-0.1", "Invalid value for '--rate'"),
        ("--layer-rate stage1.*=1.0", "the rate of 'stage1.*' is 1"),
        ("--layer-rate stage9.*=0.5", "'stage9.*' matches no layer; did you mean 'stage"),
        ("--rate-norm 0 --rate-dist 0.5", "rate-norm 0 is a share kept, above 0"),
        ("--rate-dist 1", "rate-dist 1 a share removed"),
        ("--flops 0", "'0' is no budget; write a share like 0.5 or an amount like 60M"),
        ("--flops half", "'half' is no budget"),
        ("--flops 0.001", "flops target 3,060 is out of reach: the smallest network has "),
        ("--params 0.5 --max-rate 0.1", "held by max-rate 0.1"),
        ("--skip stagee1.conv1.conv", "did you mean 'stage1.conv1.conv'?"),
        ("--skip *", "nothing may leave"),
    ],
)
def test_shares_that_cannot_be(words: str, line: str, refused, small: Path):
    assert line in refused("prune", small, *words.split())


def test_a_wrong_count_of_rates_is_found_before_the_scoring(
    refused, file: Path, monkeypatch: pytest.MonkeyPatch
):
    def scoring(*_: object, **__: object) -> None:
        raise AssertionError("scored although the rates could not be met")

    monkeypatch.setattr("prune.engine.criteria.score", scoring)
    assert "3 rates given" in refused("prune", file, "--criterion", "hrank", "--compress-rate", "[0.5]*3")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("prune base.hdf5 --flops 0.5 --rate 0.5", "--rate and --flops/--params exclude each other"),
        ("prune base.hdf5 --rate 0.5 --round-to 8", "--round-to has no effect with --rate"),
        ("prune base.hdf5 --rate 0.5 --max-rate 0.1", "--max-rate has no effect with --rate"),
        ("prune base.hdf5 --rate 0.5 --ranking global", "--ranking has no effect with --rate"),
        ("prune base.hdf5 --plan x --skip conv1", "--skip has no effect with --plan"),
        ("prune base.hdf5 --criterion l1 --scores x", "--criterion and --scores exclude each other"),
        ("prune base.hdf5 --criterion l1 --rate-dist 0.3", "--criterion has no effect with --rate-norm"),
        ("prune base.hdf5 --num-classes 7 --arch resnet20", "tells 10 classes apart, not the 7"),
        ("train-base --arch resnet20 --num-classes 7", "--num-classes 7, but 'digits' has 10"),
        ("train-base --arch resnet20 --image-size 32", "'digits' has images of 16x16"),
        ("train-base --arch resnet20 --lr-schedule multistep", "lr_schedule 'multistep' needs milestones"),
        (
            "train-base --arch resnet20 --lr-schedule cosine --milestones 3",
            "lr_schedule is 'cosine'; it must be 'multi",
        ),
        ("train-base --arch resnet20 --epochs 5 --milestones 7", "it must be rising epochs from 1 to 4"),
        ("train-base --arch resnet20 --epochs 0", "Invalid value for '--epochs'"),
        ("train-base --arch resnet20 --batch-size 1", "batch norm needs more than one image"),
        ("train-base --arch resnet20 --lr 0", "lr is 0.0; it must be above 0"),
        ("train-base", "give --arch"),
        ("rank", "give a weight file, or the name of a network with --arch"),
        ("prune", "give a weight file, or the name of a network with --arch"),
        ("flops", "give a weight file, or the name of a network with --arch"),
        ("finetune", "name the weight file to train"),
        ("finetune base.hdf5 --distill-alpha 0.3", "need a network: --distill FILE"),
        ("finetune base.hdf5 --distill base.hdf5 --distill-alpha 0", "0 is no share above 0"),
    ],
)
def test_options_that_do_not_go_together(words: str, line: str, refused, file: Path):
    assert line in refused(*words.split())


def test_a_stage_of_one_channel_stays_one(prune, refused, small: Path):
    one = ["--rate", "0.99", "--residual", "coupled", "--quiet"]
    assert prune("prune", small, *one, "--out", "one.hdf5").code == 0
    again = json.loads(prune("prune", "one.hdf5", *one, "--out", "again.hdf5", "--json").out)
    assert again["macs"] == again["baseline"]["macs"]
    assert all(len(kept) == 1 for kept in again["kept"].values())
    assert "out of reach" in refused("prune", "again.hdf5", "--flops", "0.5", "--out", "x.hdf5")


def test_resuming_what_is_over_or_otherwise(refused, base: Path):
    assert f"{base} is finished: its networks are " in refused("train-base", "--resume", base)
    assert f"go on with: prune train-base --resume {base}" in refused("finetune", "--resume", base)
    line = refused("train-base", "--resume", base, "--epochs", "9")
    assert "a resumed run keeps the settings it was begun with; leave out --epochs" in line
    assert "leave out FILE" in refused("finetune", base / "best.hdf5", "--resume", base)


def test_losses_of_widths_are_asked_of_criteria_that_know_them(refused, file: Path):
    said = refused("prune", "base.hdf5", "--flops", "0.5", "--ranking", "loss", "--criterion", "l1")
    assert "--ranking loss takes scores for losses of whole widths, and criterion 'l1' gives none" in said
