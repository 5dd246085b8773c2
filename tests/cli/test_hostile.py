"""Files that attack: one clear line, exit 2, within two seconds and 500 MB, whatever command opens them."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import warm
from lying_in_wait import TAKEN_OVER, lie_in_wait
from prune.weights import store
from prune.weights.store import WeightFile

HOSTILE = Path(__file__).parents[3] / "shared" / "hostile"
REFUSED = [
    "oob_leak.hdf5",
    "leak_net.hdf5",
    "short_gzip.hdf5",
    "oob_segv.hdf5",
    "hang_one_bit.hdf5",
    "legacy_unfilled_1k.pth",
    "bytearray_2GB.pth",
    "i1.hdf5",
    "input_size-6000.hdf5",
    "meta.hdf5",
]
COMMANDS = {
    "inspect": [],
    "convert": ["out.pth"],
    "evaluate": ["--dataset", "digits"],
    "prune": ["--rate", "0.3", "--out", "out.hdf5"],
    "rank": ["--criterion", "l1", "--out", "out.hdf5"],
    "finetune": ["--dataset", "digits", "--out", "run"],
    "flops": [],
}

SRC = str(Path(__file__).parents[3])


def ended_cold(code: str, typed: list[list[str]], folder: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own that runs these command lines, with `folder` as the current one."""
    return subprocess.run(
        [sys.executable, "-c", code, json.dumps(typed)],
        cwd=folder,
        env=safely(folder),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_each_is_one_line_whatever_opens_it(prune, name, command):
    if not HOSTILE.is_dir():
        pytest.skip("no ../shared/hostile beside the repository")
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    code, out, err = prune(command, HOSTILE / name, *COMMANDS[command])
    assert (code, out) == (2, "")
    assert err.startswith(f"error: '{HOSTILE / name}'") or f"'{HOSTILE / name}'" in err
    assert len(err.splitlines()) == 1
    assert err.strip().isprintable()
    assert time.monotonic() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300e3  # kB
    assert list(Path().iterdir()) == []


NAMED_OTHERWISE = [  # FILE is the hostile one
    ["train-base", "--like", "FILE", "--out", "run"],
    ["finetune", "good.hdf5", "--distill", "FILE", "--out", "run"],
    ["prune", "good.hdf5", "--scores", "FILE", "--rate", "0.3", "--out", "out.hdf5"],
    ["prune", "FILE", "--method", "resrep", "--out", "run"],
    ["inspect", "good.hdf5", "--diff", "FILE"],
    ["inspect", "--verify", "FILE"],
    ["inspect", "--channels", "FILE"],
    ["inspect", "--json", "FILE"],
    ["prune", "FILE", "--recipe", "resrep/resnet56", "--out", "run"],
    ["finetune", "FILE", "--recipe", "hrank/resnet56", "--out", "run"],
]
COLD = """
import json, sys, time
from prune.cli.main import main
for words in json.loads(sys.argv[1]):
    began = time.monotonic()
    code = main(words)
    assert code == 2, (words, code)
    assert time.monotonic() - began < 2, words
    assert "torch" not in sys.modules, words
if sys.platform == "linux":  # where ru_maxrss begins at what the parent had
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 200e3, peak  # kB
"""


def test_each_is_refused_before_torch_is_imported(tmp_path):
    if not HOSTILE.is_dir():
        pytest.skip("no ../shared/hostile beside the repository")
    store.write(tmp_path / "good.hdf5", WeightFile({"w": np.ones(3)}))
    lie_in_wait(tmp_path)
    lines = [[command, "FILE", *more] for command, more in COMMANDS.items()] + NAMED_OTHERWISE
    typed = [
        [str(HOSTILE / name) if word == "FILE" else word for word in words]
        for name in REFUSED
        for words in lines
        # Scores are HDF5, and have no size of images.
        if not ("--scores" in words and name.endswith((".pth", "-6000.hdf5")))
    ]
    ended = ended_cold(COLD, typed, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stderr.splitlines()) == len(typed)
    assert all(line.startswith("error: ") for line in ended.stderr.splitlines())
    assert {path.name for path in tmp_path.iterdir()} == {"good.hdf5", *TAKEN_OVER}


@pytest.mark.parametrize("words", [[], ["--json"], ["--verify"], ["--diff", "x.hdf5"]])
def test_inspect_believes_a_size_that_the_user_bears_out(prune, tmp_path, words):
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}, {"input_size": [3, 6000, 6000]}))
    code, _, err = prune("inspect", "x.hdf5", *words)
    assert code == 2
    assert err.startswith("error: 'x.hdf5' says that its images are 3x6000x6000; above 1024 pixels")
    assert err.endswith("give --image-size 6000 if it is so\n")
    assert prune("inspect", "x.hdf5", "--image-size", 6000, *words).code == 0
    code, _, err = prune("inspect", "x.hdf5", "--image-size", 32, *words)
    assert (code, err.count("--image-size has no effect without --channels")) == (2, 1)


def test_a_size_may_be_too_large_for_its_channels_alone(prune, tmp_path):
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}, {"input_size": [20, 900, 900]}))
    assert "give --image-size 900 if it is so" in prune("inspect", "x.hdf5").err
    assert prune("inspect", "x.hdf5", "--image-size", 900).code == 0
    store.write(tmp_path / "small.hdf5", WeightFile({"w": np.ones(3)}, {"input_size": [3, 32, 32]}))
    assert "has no effect without --channels" in prune("inspect", "small.hdf5", "--image-size", 6000).err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_size_of_images_that_nobody_believes(prune, command):
    if not HOSTILE.is_dir():
        pytest.skip("no ../shared/hostile beside the repository")
    code, out, err = prune(command, HOSTILE / "input_size-6000.hdf5", *COMMANDS[command])
    assert (code, out) == (2, "")
    assert "says that its images are 3x6000x6000" in err
    assert "give --image-size 6000 if it is so" in err


def safely(here: Path) -> dict[str, str]:
    """The environment of a process that does not look for modules in its current folder."""
    return os.environ | {"PYTHONPATH": SRC, "PYTHONSAFEPATH": "1", "PRUNE_CACHE": str(here / "cache")}


EVIL = (
    "open('ran', 'w').close()\nfrom torch import nn\nbuild = lambda num_classes: nn.Linear(1, num_classes)\n"
)


def test_a_run_folder_executes_nothing(tmp_path):
    settings = {
        "command": "train-base",
        "arch": "evil:build",
        "images": {"dataset": "digits"},
        "training": {"epochs": 1, "lr": 0.1},
        **dict.fromkeys(("start", "like", "teacher")),
        "num_classes": 10,
    }
    (tmp_path / "evil.py").write_text(EVIL)
    for arch in ("evil:build", "os:abort"):
        (tmp_path / "config.json").write_text(json.dumps(settings | {"arch": arch}))
        ended = warm.run(["-m", "prune", "train-base", "--resume", "."], tmp_path, safely(tmp_path))
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"error: . would import '{arch}', which no run of yours began with")
        assert ended.stderr.endswith(f"if you trust it, add --arch {arch}\n")
        assert not (tmp_path / "ran").exists()


def test_links_in_a_circle_are_no_fault(prune, tmp_path):
    (tmp_path / "loop.hdf5").symlink_to("loop.hdf5")
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    for words in (["inspect", "loop.hdf5"], ["convert", "loop.hdf5"], ["convert", "x.hdf5", "loop.hdf5"]):
        code, _, err = prune(*words)
        assert code == 2
        assert len(err.splitlines()) == 1
