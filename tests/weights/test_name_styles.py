"""Name styles: whole networks renamed both ways, against the authors' own table."""

import json
import re
from pathlib import Path

import pytest
import torch
import torchvision
from prune.weights import store
from prune.weights.errors import NameStyleError
from prune.weights.formats import read_any
from prune.weights.name_styles import STYLES
from prune.weights.names import detect, from_ours, to_ours

SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared beside the repository")


def test_torchvision_resnet50_is_the_authors_table(golden: Path):
    entries = json.loads((golden / "authors/torchvision_resnet50_names.json").read_text())["entries"]
    theirs = {entry["torchvision"]: number for number, entry in enumerate(entries)}
    ours = {entry["resrep"]: number for number, entry in enumerate(entries)}
    assert len(theirs) == len(ours) == 320
    renamed = to_ours(theirs, "torchvision")
    assert list(renamed.items()) == list(ours.items())
    back = from_ours(ours, "torchvision")
    assert list(back.items()) == list(theirs.items())
    assert detect(theirs) == "torchvision"
    assert detect(ours) is None


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101", "resnet152", "resnext50_32x4d"])
def test_torchvision_resnets_return_unchanged(name):
    with torch.device("meta"):
        keys = dict.fromkeys(torchvision.models.get_model(name, weights=None).state_dict())
    assert detect(keys) == "torchvision"
    ours = to_ours(keys, "torchvision")
    assert len(ours) == len(keys)
    assert all(".conv." in key or ".bn." in key or key.startswith("fc.") for key in ours)
    assert detect(ours) is None
    assert list(from_ours(ours, "torchvision")) == list(keys)


@needs_shared
@pytest.mark.parametrize(
    ("file", "blocks", "counters"),
    [
        ("resnet20-12fca82f.th", 3, False),
        ("resnet32-d509ac18.th", 5, False),
        ("resnet44-014dd654.th", 7, False),
        ("resnet56-4bfd9763.th", 9, False),
        ("resnet20-jpeg.pt", 3, True),
        ("resnet56-jpeg.pt", 9, True),
    ],
)
def test_akamaster_files_become_ours_and_return(file, blocks, counters):
    tensors = read_any(SHARED / "data/weights" / file).tensors
    assert detect(tensors) == "akamaster"
    ours = to_ours(tensors, "akamaster")
    leaves = ["weight", "bias", "running_mean", "running_var", *["num_batches_tracked"] * counters]
    units = ["stage1.conv1"] + [
        f"stage{stage}.block{block}.conv{conv}"
        for stage in (1, 2, 3)
        for block in range(blocks)
        for conv in (1, 2)
    ]
    expected = [
        f"{unit}.{key}" for unit in units for key in ["conv.weight", *(f"bn.{leaf}" for leaf in leaves)]
    ]
    assert list(ours) == [*expected, "linear.weight", "linear.bias"]
    back = from_ours(ours, "akamaster")
    assert list(back) == list(tensors)
    assert all(back[key] is tensors[key] for key in tensors)


@needs_shared
def test_our_cifar_names_are_resreps_own():
    """Every name of ResRep's src56 file but the compactors' belongs to the style."""
    tensors = store.read(SHARED / "golden/authors/resrep_src56_train.hdf5").tensors
    plain = {key: tensor for key, tensor in tensors.items() if ".compactor." not in key}
    assert len(plain) < len(tensors)
    assert list(to_ours(from_ours(plain, "akamaster"), "akamaster")) == list(plain)


@pytest.mark.parametrize("style", STYLES.values(), ids=lambda style: style.name)
def test_no_two_names_can_become_one(style):
    """Each template says as much as its counterpart, and no template covers another's names."""
    for theirs, ours in style.pairs:
        assert sorted(re.findall(r"{\w+}", ours)) == sorted(re.findall(r"{\w+}", theirs))
    meant = {"stage": 1, "block": 0, "conv": 2, "inception": "a3", "param": "bias", "entry": "bias"}
    theirs, ours = ([name.format(**meant) for name in side] for side in (style.theirs, style.ours))
    assert len(set(theirs)) == len(set(ours)) == len(style.pairs)
    assert to_ours(dict.fromkeys(theirs), style.name).keys() == set(ours)
    assert from_ours(dict.fromkeys(ours), style.name).keys() == set(theirs)


def test_the_dataparallel_prefix_is_dropped():
    keys = dict.fromkeys(["module.conv1.weight", "module.bn1.bias", "module.linear.weight"])
    assert detect(keys) == "akamaster"
    assert list(to_ours(keys, "akamaster")) == [
        "stage1.conv1.conv.weight",
        "stage1.conv1.bn.bias",
        "linear.weight",
    ]


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["conv1.weight"],
        ["conv1.weight", "linear.weight", "extra.weight"],
        ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],  # three stages and fc, but only one is here
        ["features.0.weight", "classifier.weight"],
    ],
)
def test_unknown_networks_are_not_guessed(keys):
    assert detect(keys) is None


@pytest.mark.parametrize(
    ("rename", "keys", "style", "message"),
    [
        (
            to_ours,
            ["conv1.weight", "odd.weight"],
            "akamaster",
            "'odd.weight' is no name of style 'aka",
        ),
        (to_ours, ["conv1Xweight"], "akamaster", "'conv1Xweight' is no name"),
        (to_ours, ["layer01.0.conv1.weight"], "akamaster", "is no name"),
        (
            from_ours,
            ["conv1.conv.weight"],
            "akamaster",
            "'conv1.conv.weight' is no name that style",
        ),
        (
            from_ours,
            ["stage1.conv1.compactor.mask"],
            "akamaster",
            "'stage1.conv1.compactor.mask' is no name that style 'akamaster' has a counterpart for; its",
        ),
        (to_ours, [], "akamaste", "no name style 'akamaste'; known are akamaster, "),
    ],
)
def test_what_cannot_be_renamed_is_named(rename, keys, style, message):
    with pytest.raises(NameStyleError, match=message):
        rename(dict.fromkeys(keys), style)
