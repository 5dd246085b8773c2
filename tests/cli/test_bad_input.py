"""Files and images that are bad: one clear line, exit code 2, nothing on stdout, and the disk as it was."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from prune.weights import store


@pytest.mark.parametrize("command", ["inspect", "rank", "prune", "finetune", "convert", "flops", "evaluate"])
def test_files_that_are_not_there(command: str, refused, tmp_path: Path):
    assert "no file 'none.hdf5'; check the path" in refused(command, "none.hdf5")
    assert f"'{tmp_path}' is a folder; name a file in it" in refused(command, tmp_path)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("prune base.hdf5 --scores none.hdf5", "no file 'none.hdf5'"),
        ("prune base.hdf5 --plan none.json", "no file 'none.json'"),
        ("prune base.hdf5 --plan base.hdf5", "plan 'base.hdf5' is not JSON"),
        (
            "prune base.hdf5 --scores base.hdf5",
            "has scores for 'stage1.conv1.conv.weight', which is no layer",
        ),
        ("finetune base.hdf5 --distill none.hdf5", "no file 'none.hdf5'"),
        ("evaluate base.hdf5 none.hdf5", "no file 'none.hdf5'"),
        ("inspect base.hdf5 --diff none.hdf5", "no file 'none.hdf5'"),
        ("evaluate base.hdf5 --data-dir none", "no folder 'none'; --data-dir names one with train/"),
        ("evaluate base.hdf5 --data-dir base.hdf5", "no folder 'base.hdf5'"),
        ("train-base --resume none", "none holds no run: there is no config.json in it"),
        ("train-base --resume base.hdf5", "base.hdf5 holds no run"),
    ],
)
def test_other_paths_that_lead_nowhere(words: str, line: str, refused, file: Path):
    assert line in refused(*words.split())


def _text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("conv.weight", data=["a", "b"], dtype=h5py.string_dtype())


def _references(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("conv.weight", shape=(2,), dtype=h5py.ref_dtype)


def _external(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["conv.weight"] = h5py.ExternalLink("elsewhere.hdf5", "/secret")


def _soft(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["conv.weight"] = h5py.SoftLink("/other")


HOSTILE = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "is damaged or truncated"),
    "halved": (lambda path: path.write_bytes(path.read_bytes()[:500_000]), "is damaged or truncated"),
    "junk": (lambda path: path.write_bytes(b"hello"), "is not an HDF5 file (5 bytes)"),
    "empty": (lambda path: path.write_bytes(b""), "is not an HDF5 file (0 bytes)"),
    "text": (_text, "'conv.weight' in 'base.hdf5' holds text; allowed are floats, booleans and integers"),
    "references": (_references, "'conv.weight' in 'base.hdf5' holds "),
    "external link": (_external, "'conv.weight' in 'base.hdf5' is a link to another file"),
    "soft link": (_soft, "'conv.weight' in 'base.hdf5' is "),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("command", ["inspect", "convert", "evaluate"])
def test_files_that_are_no_sound_weight_files(kind: str, command: str, refused, file: Path):
    spoil, line = HOSTILE[kind]
    spoil(file)
    assert line in refused(command, "base.hdf5")


def rewritten(path: Path, tensors: Mapping[str, np.ndarray] = {}, **meta: object) -> None:
    """Change some tensors and some facts of a weight file."""
    old = store.read(path)
    store.write(path, store.WeightFile({**old.tensors, **tensors}, {**old.meta, **meta}), force=True)


@pytest.mark.parametrize("command", ["rank", "prune", "finetune", "convert", "flops", "evaluate"])
def test_a_factory_that_a_file_names_is_never_imported(command: str, refused, file: Path, prune):
    rewritten(file, arch="trap:make")
    Path("trap.py").write_text("open('sprung', 'w').close()\nmake = None\n")
    line = refused(command, file)
    assert line.endswith("'trap:make', which is not imported unasked; if you trust it, give --arch trap:make")
    assert not Path("sprung").exists()

    # The same module does spring when the user names it, so this test would see an import.
    if command == "flops":
        assert prune("flops", file, "--arch", "trap:make").code == 2
        assert Path("sprung").exists()


def test_a_file_of_another_arch_names_the_first_mismatch(refused, file: Path):
    line = refused("evaluate", file, "--arch", "resnet32")
    assert (
        "does not go with arch 'resnet32': stage1.block3.conv1.conv.weight is in the network but not in"
        in line
    )
    rewritten(file, {"stage2.block0.conv1.conv.weight": np.ones((32, 15, 3, 3), np.float32)})
    assert "stage2.block0.conv1.conv" in refused("flops", file)


@pytest.mark.usefixtures("few_digits")
def test_weights_that_are_no_numbers(refused, file: Path, prune):
    name = "stage1.block0.conv1.conv.weight"
    rewritten(file, {name: np.full_like(store.read(file).tensors[name], np.nan)})
    assert "not finite for 'stage1.block0.conv1.conv'" in refused("prune", file)
    assert "feature maps of 'stage1.block0.conv1.conv' are not finite" in refused("rank", file)
    assert f"NaN or infinity, the first in '{name}'" in refused("finetune", file)
    ended = prune("evaluate", file)
    assert "warning: " in ended.err
    assert "its accuracy means nothing" in ended.err


def images_in(folder: Path, side: int, classes: int) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes):
            (folder / split / f"class{label}").mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / f"class{label}" / f"{number}.png")
    return folder


@pytest.mark.parametrize("command", ["rank", "prune", "finetune", "evaluate"])
def test_images_that_do_not_go_with_the_network(command: str, refused, file: Path, tmp_path: Path):
    two = images_in(tmp_path / "two", side=16, classes=2)
    line = refused(command, file, "--data-dir", two)
    assert f"'imagefolder' has 2 classes, '{file}' tells 10 apart" in line
    large = images_in(tmp_path / "large", side=20, classes=10)
    line = refused(command, file, "--data-dir", large)
    assert f"images of 'imagefolder' are 3x20x20, '{file}' takes 3x16x16" in line
    assert line.endswith("--image-size 16")


@pytest.mark.parametrize("command", ["rank", "prune", "finetune", "evaluate"])
def test_images_of_other_classes(command: str, refused, prune, file: Path, tmp_path: Path):
    foreign = images_in(tmp_path / "foreign", side=16, classes=10)
    for split in ("train", "test"):
        for digit in range(1, 10):
            (foreign / split / f"class{digit}").rename(foreign / split / f"{digit}")
    line = refused(command, file, "--data-dir", foreign)
    assert f"'imagefolder' and '{file}' have other classes: only the images have 'class0'" in line
    assert "only the network has '0'" in line
    assert "--classes-by-position" in line
    if command == "evaluate":
        assert prune(command, file, "--data-dir", foreign, "--classes-by-position").code == 0


@pytest.mark.usefixtures("few_digits")
def test_a_bare_file_of_an_unsaid_image_size(prune, refused, file: Path):
    assert prune("convert", file, "bare.pth").code == 0
    line = refused("evaluate", "bare.pth", "--dataset", "digits")
    assert "'bare.pth' takes 3x32x32; say with --image-size 16 that it is for these, or choose others" in line
    assert prune("evaluate", "bare.pth", "--dataset", "digits", "--image-size", "16").code == 0


def test_folders_of_images_that_are_none(refused, file: Path, tmp_path: Path):
    folder = tmp_path / "images"
    for part in ("train", "train/cat", "val", "val/cat"):
        (folder / part).mkdir(parents=True)
    assert f"no images in '{folder}/train/cat'" in refused("evaluate", file, "--data-dir", folder)
    (folder / "train/cat/1.png").write_bytes(b"no image")
    (folder / "val/cat/1.png").write_bytes(b"no image")
    assert "train/cat/1.png" in refused("evaluate", file, "--data-dir", folder)


def test_a_name_that_no_text_can_hold(file: Path, tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.hdf5")
    try:
        file.rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system knows only names in UTF-8")
    ended = subprocess.run(
        [sys.executable, "-m", "prune", "inspect", name, "--json"], cwd=tmp_path, capture_output=True
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["path"] == name


def test_a_plan_or_scores_of_another_network(refused, prune, small: Path):
    assert prune("prune", small, "--rate", "0.5", "--plan-out", "plan.json", "--out", "narrow.hdf5").code == 0
    assert prune("rank", small, "--criterion", "l1", "--out", "scores.hdf5").code == 0
    assert prune("rank", "--arch", "resnet20", "--criterion", "l1", "--out", "deeper.hdf5").code == 0
    line = refused("prune", "--arch", "resnet20", "--plan", "plan.json")
    assert line == (
        "error: plan 'plan.json' is for arch 'resnet8', this network is 'resnet20'; "
        "write its own with --plan-out"
    )
    assert "is for --residual internal, not coupled" in refused(
        "prune", small, "--plan", "plan.json", "--residual", "coupled"
    )
    assert "the plan keeps channel 9 of" in refused(
        "prune", "narrow.hdf5", "--plan", "plan.json", "--out", "x.pth"
    )
    line = refused("prune", small, "--scores", "deeper.hdf5", "--out", "x.hdf5")
    assert "'deeper.hdf5' has scores for 'stage1.block1.conv1.conv', which is no layer with filters" in line
    line = refused("prune", "--arch", "resnet20", "--scores", "scores.hdf5")
    assert re.search(r"'scores.hdf5' has no scores for 'stage\S+' and 11 more; rank this network again", line)
    assert "which has 8 filters" in refused(
        "prune", "narrow.hdf5", "--scores", "scores.hdf5", "--out", "x.hdf5"
    )
