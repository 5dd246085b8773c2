"""What users get wrong: one clear line, exit code 2, nothing on stdout, and the disk as it was."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import warm
from PIL import Image
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network
from prune.weights import store
from small_for_commands import BRIEF

NOTES = (
    "no --criterion: ",  # what commands say before they look closer
    "weights: ",
    "images: ",
    "nothing says how much is to leave",
    "warning: no base run of",
)


@pytest.fixture
def refused(prune, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused, with and without --json; its one line."""

    def run(*words: object) -> str:
        lines = []
        for more in ([], ["--json"]):
            before = contents(tmp_path)
            code, out, err = prune(*words, *more)
            *notes, line = err.splitlines()
            assert (code, out) == (2, ""), err
            assert line.startswith("error: ")
            assert all(note.startswith(NOTES) for note in notes), err
            assert contents(tmp_path) == before
            lines.append(line)
        assert lines[0] == lines[1]
        return lines[0]

    return run


@pytest.fixture
def small(resnet8: None) -> Path:
    """A network that is pruned sooner, and without images."""
    save_network("small.hdf5", new_network("resnet8", input_size=16))
    return Path("small.hdf5")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, and what is in it."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


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


@pytest.mark.parametrize(
    "words",
    [
        "rank base.hdf5 --out mine.hdf5",
        "prune base.hdf5 --out mine.hdf5",
        "prune base.hdf5 --out new.hdf5 --plan-out mine.hdf5",
        "convert base.hdf5 mine.hdf5",
        "train-base --arch resnet20 --out run",
        "finetune base.hdf5 --out run",
    ],
)
def test_what_exists_is_refused_before_any_work(
    words: str, refused, file: Path, monkeypatch: pytest.MonkeyPatch
):
    Path("mine.hdf5").write_text("mine")
    Path("run").mkdir()
    Path("run/best.hdf5").write_text("mine")
    for work in ("prune.engine.network.files.load_network", "prune.engine.network.sources.load_network"):
        monkeypatch.setattr(work, None)  # whoever loads a network now fails otherwise
    assert re.search("exists; name another|is not empty; resume it", refused(*words.split()))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("prune base.hdf5 --out base.hdf5 --force", "output 'base.hdf5' would replace what another option"),
        ("prune base.hdf5 --out link.hdf5 --force", "output 'link.hdf5' would replace what another option"),
        (
            "prune base.hdf5 --out x.hdf5 --plan-out x.hdf5",
            "output 'x.hdf5' would replace what another option",
        ),
        (
            "prune base.hdf5 --scores base.hdf5 --plan-out base.hdf5 --force",
            "would replace what another option",
        ),
        ("rank base.hdf5 --out base.hdf5 --force", "output 'base.hdf5' would replace what another option"),
        ("convert base.hdf5 base.hdf5 --force", "'base.hdf5' would be overwritten by its conversion"),
        ("finetune base.hdf5 --out . --force", "output '.' would replace what another option"),
    ],
)
def test_an_output_that_is_an_input_is_refused_even_with_force(words: str, line: str, refused, file: Path):
    Path("link.hdf5").symlink_to("base.hdf5")
    assert line in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("rank base.hdf5 --out nowhere/x.hdf5", "no folder 'nowhere' for output 'x.hdf5'; create it: mkdir"),
        ("prune base.hdf5 --out nowhere/x.hdf5", "no folder 'nowhere' for output 'x.hdf5'; create it: mkdir"),
        ("prune base.hdf5 --out base.hdf5/x.hdf5", "'base.hdf5' in output 'base.hdf5/x.hdf5' is a file"),
        ("prune base.hdf5 --out .", "output '.' is a folder; name a file in it"),
        ("prune base.hdf5 --out x.zip", "'x.zip' has the suffix '.zip'; known are .hdf5"),
        ("prune base.hdf5 --out x", "'x' has no suffix; known are .hdf5"),
        ("convert base.hdf5 x.onyx", "'x.onyx' has the suffix '.onyx'"),
        ("train-base --arch resnet20 --out base.hdf5", "base.hdf5 is a file; a run needs a folder"),
        ("train-base --arch resnet20 --out base.hdf5/run", "cannot be made a run's folder"),
    ],
)
def test_outputs_that_cannot_be(words: str, line: str, refused, file: Path):
    assert line in refused(*words.split())


POWERLESS = """
import ctypes, os
from prune.cli.main import main
if os.geteuid() == 0:
    version_and_process, no_capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version_and_process, no_capabilities) == 0
"""


def test_a_folder_that_may_not_be_written(file: Path, tmp_path: Path):
    """In a process of its own, since root may write everywhere unless it gives that up for good."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    commands = [
        ["prune", str(file), "--out", "x.hdf5"],
        ["rank", str(file), "--criterion", "l1", "--out", "x.hdf5"],
        ["rank", str(file), "--criterion", "l1"],  # would make runs/ here
        ["convert", str(file), "x.pth"],
        ["train-base", "--arch", "resnet20", "--epochs", "1"],
    ]
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root may write everywhere, and only Linux lets it give that up")
    script = POWERLESS + "".join(f"print(main({words}))\n" for words in commands)
    ended = warm.run(["-c", script], locked)
    assert ended.stdout.split() == ["2"] * len(commands), ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert [bool(re.search("no permission|can be made in|Permission denied", line)) for line in errors] == [
        True
    ] * len(commands), ended.stderr
    assert not list(locked.iterdir())


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


@pytest.fixture
def training(tmp_path: Path) -> Iterator[warm.Process]:
    """A training in a process of its own, of many short epochs."""
    (tmp_path / "interrupted_net.py").write_text(BRIEF)
    words = "train-base --arch interrupted_net:net --dataset digits --epochs 500 --precision fp32 --threads 1"
    words += " --json --out"
    with warm.Process(["-m", "prune", *words.split(), "a run"], tmp_path) as process:
        yield process
        process.kill()


def test_ctrl_c_in_training(training: warm.Process, prune, tmp_path: Path):
    for line in training.stderr:
        if line.startswith("epoch"):
            break
    training.send_signal(signal.SIGINT)
    out, err = training.communicate(timeout=60)
    assert (training.returncode, out) == (130, "")
    last = err.splitlines()[-1]
    told = re.fullmatch(r"interrupted after epoch (\d+); go on with: (prune .*)", last)
    assert told, err
    assert [line for line in err.splitlines() if not line.startswith("epoch")] == [last]
    assert not list(tmp_path.rglob("*tmp*"))
    assert not Path("a run/report.json").exists()

    words = shlex.split(told[2])
    shorten(tmp_path / "a run", epochs=int(told[1]) + 1)
    ended = prune(*words[1:], "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["epochs"] == int(told[1]) + 1
    assert Path("a run/report.json").exists()


def shorten(folder: Path, epochs: int) -> None:
    """Make an interrupted run end sooner, so that its resumption is a matter of seconds."""
    import torch

    config = json.loads((folder / "config.json").read_text())
    config["training"]["epochs"] = epochs
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    checkpoint["config"]["epochs"] = epochs
    torch.save(checkpoint, folder / "checkpoint.pt")


@pytest.mark.usefixtures("few_digits")
def test_ctrl_c_before_the_first_step_can_go_on_too(prune, file: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("prune.engine.jobs.run.recalibrate", interrupted)
        ended = prune("finetune", file, "--epochs", "1", "--out", "run", "--precision", "fp32")
    assert ended == (130, "", "interrupted; go on with: prune finetune --resume run\n")
    assert prune("finetune", "--resume", "run", "--quiet").code == 0
    assert Path("run/report.json").exists()


def test_losses_of_widths_are_asked_of_criteria_that_know_them(refused, file: Path):
    said = refused("prune", "base.hdf5", "--flops", "0.5", "--ranking", "loss", "--criterion", "l1")
    assert "--ranking loss takes scores for losses of whole widths, and criterion 'l1' gives none" in said
