"""Name styles: whole networks renamed both ways, against the authors' own table."""

import json
import re
from pathlib import Path

import pytest
import torchvision
from prune.weights import store
from prune.weights.errors import NameStyleError
from prune.weights.formats import read_any
from prune.weights.names import STYLES, detect, rename

SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared beside the repository")


@needs_shared
def test_torchvision_resnet50_is_the_authors_table():
    entries = json.loads((SHARED / "golden/authors/torchvision_resnet50_names.json").read_text())["entries"]
    theirs = {entry["torchvision"]: number for number, entry in enumerate(entries)}
    ours = {entry["resrep"]: number for number, entry in enumerate(entries)}
    assert len(theirs) == len(ours) == 320
    renamed = rename(theirs, "torchvision", "resrep-imagenet")
    assert list(renamed.items()) == list(ours.items())
    back = rename(ours, "resrep-imagenet", "torchvision")
    assert list(back.items()) == list(theirs.items())
    assert detect(theirs) == "torchvision"
    assert detect(ours) == "resrep-imagenet"


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101", "resnet152", "resnext50_32x4d"])
def test_torchvision_resnets_return_unchanged(name):
    keys = dict.fromkeys(torchvision.models.get_model(name, weights=None).state_dict())
    assert detect(keys) == "torchvision"
    ours = rename(keys, "torchvision", "resrep-imagenet")
    assert len(ours) == len(keys)
    assert all(".conv." in key or ".bn." in key or key.startswith("fc.") for key in ours)
    assert detect(ours) == "resrep-imagenet"
    assert list(rename(ours, "resrep-imagenet", "torchvision")) == list(keys)


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
    ours = rename(tensors, "akamaster", "resrep-cifar")
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
    assert detect(ours) == "resrep-cifar"
    back = rename(ours, "resrep-cifar", "akamaster")
    assert list(back) == list(tensors)
    assert all(back[key] is tensors[key] for key in tensors)


@needs_shared
def test_our_cifar_names_are_resreps_own():
    """Every name of ResRep's src56 file but the compactors' belongs to the style."""
    tensors = store.read(SHARED / "golden/authors/resrep_src56_train.hdf5").tensors
    plain = {key: tensor for key, tensor in tensors.items() if ".compactor." not in key}
    assert len(plain) < len(tensors)
    assert detect(plain) == "resrep-cifar"
    back = rename(rename(plain, "resrep-cifar", "akamaster"), "akamaster", "resrep-cifar")
    assert list(back) == list(plain)
    assert detect(tensors) is None


@pytest.mark.parametrize("style", STYLES.values(), ids=lambda style: style.name)
def test_no_two_names_can_become_one(style):
    """Each template says as much as its counterpart, and no template covers another's names."""
    counterpart = STYLES[style.counterpart]
    for ours, theirs in zip(style.templates, counterpart.templates, strict=True):
        assert sorted(re.findall(r"{\w+}", ours)) == sorted(re.findall(r"{\w+}", theirs))
    samples = [
        template.format(stage=1, block=0, conv=2, param="bias", entry="bias") for template in style.templates
    ]
    for sample in samples:
        assert sum(pattern.fullmatch(sample) is not None for pattern in style.patterns) == 1


def test_the_dataparallel_prefix_is_dropped():
    keys = dict.fromkeys(["module.conv1.weight", "module.bn1.bias", "module.linear.weight"])
    assert detect(keys) == "akamaster"
    assert list(rename(keys, "akamaster", "resrep-cifar")) == [
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
        ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],  # three stages and fc: neither family
        ["features.0.weight", "classifier.weight"],
    ],
)
def test_unknown_networks_are_not_guessed(keys):
    assert detect(keys) is None


@pytest.mark.parametrize(
    ("keys", "styles", "message"),
    [
        (
            ["conv1.weight", "odd.weight"],
            ("akamaster", "resrep-cifar"),
            "'odd.weight' is no name of style 'akamaster'",
        ),
        (["conv1Xweight"], ("akamaster", "resrep-cifar"), "'conv1Xweight' is no name"),
        (["layer01.0.conv1.weight"], ("akamaster", "resrep-cifar"), "is no name"),
        (["conv1.conv.weight"], ("resrep-cifar", "akamaster"), "'conv1.conv.weight' is no name"),
        (
            ["stage1.conv1.compactor.mask"],
            ("resrep-cifar", "akamaster"),
            "'stage1.conv1.compactor.mask' is no name of style 'resrep-cifar'",
        ),
        ([], ("akamaster", "torchvision"), "no rules from style 'akamaster' to 'torchvision'"),
        ([], ("akamaste", "resrep-cifar"), "no name style 'akamaste'; known are akamaster, "),
    ],
)
def test_what_cannot_be_renamed_is_named(keys, styles, message):
    with pytest.raises(NameStyleError, match=message):
        rename(dict.fromkeys(keys), *styles)
