"""Files that attack: one clear line, exit 2, within two seconds and 500 MB, whatever command opens them."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import warm
from lying_in_wait import TAKEN_OVER, lie_in_wait
from prune.cli.main import main
from prune.weights import store
from prune.weights.store import WeightFile
from small_for_commands import BRIEF

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
ESCAPES = "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202eder\u2066"
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


def stored_with(path: Path, text: str) -> Path:
    """A weight file of another writer, whose metadata is this JSON."""
    with h5py.File(path, "w") as file:
        file.attrs.create("prune", text, dtype=h5py.string_dtype("utf-8"))
        file["w"] = np.ones(3)
    return path


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"format": 1, "class_names": ["cat", "\\u001b[2Jdog"]}', r"class_names[1] is '\x1b[2Jdog'"),
        ('{"format": 1, "history": [{"command": "a\\u0007"}]}', r"history[0].command is 'a\x07'"),
        ('{"format": 1, "x": {"y\\u009b31m": 1}}', r"a key of x is 'y\x9b31m'"),
        ('{"format": 1, "no\x7fte": "\x85"}', r"note"),
        ('{"format": 1, "x": ' + "[" * 500 + '"\\b"' + "]" * 500 + "}", r"is '\x08'"),
    ],
)
def test_control_characters_in_metadata_are_refused(prune, tmp_path, text, named):
    code, out, err = prune("inspect", stored_with(tmp_path / "x.hdf5", text))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "it must be a text without control characters" in err
    assert named in err.replace(r"\x7f", "")


def test_names_in_any_script_and_lines_are_no_control_characters(prune, tmp_path):
    names = ["\u05d0\u200f\u05d1", "a\tb", "two\nlines", "\u202eder"]
    text = json.dumps({"format": 1, "class_names": names})
    code, out, _ = prune("inspect", stored_with(tmp_path / "x.hdf5", text), "--json")
    assert code == 0
    assert json.loads(out)["meta"]["class_names"] == names


def test_what_prune_writes_has_no_control_characters(prune, tmp_path):
    """A folder of a class, or a path in the history, may be called anything; the file is read."""
    meta = {"class_names": ("\x1b[2Jcat",), "history": [{"command": "a\x07", "k\x9b": {"deep": ["\x7f"]}}]}
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}, meta))
    written = store.read(tmp_path / "x.hdf5").meta
    assert written["class_names"] == [r"\x1b[2Jcat"]
    assert written["history"] == [{"command": r"a\x07", r"k\x9b": {"deep": [r"\x7f"]}}]


def hostile_names(path: Path) -> Path:
    network = {
        "arch": f"arch{ESCAPES}",
        "class_names": [f"cat{ESCAPES}"],
        f"note{ESCAPES}": ESCAPES,
        "history": [{"command": ESCAPES, f"key{ESCAPES}": ESCAPES}],
    }
    store.write(path, WeightFile({f"w{ESCAPES}": np.ones(3)}, network))
    return path


@pytest.mark.parametrize("words", ["inspect", "inspect --json", "inspect --verify", "flops", "convert"])
def test_no_control_character_reaches_the_terminal(prune, tmp_path, words):
    file = hostile_names(tmp_path / f"x{ESCAPES}.hdf5")
    _, out, err = prune(*words.split(), file)
    for text in (out, err):
        assert not set(text) & set(ESCAPES) - set("]0;OWNED[2J31mder")
    assert "\\x1b" in out + err or "\\u001b" in out + err


def test_no_control_character_reaches_a_real_terminal(tmp_path):
    pty = pytest.importorskip("pty")
    file = hostile_names(tmp_path / "x.hdf5")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "prune", "inspect", str(file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env=environment, cwd=tmp_path)
    os.close(follower)
    said = b""
    try:
        while part := os.read(leader, 65536):
            said += part
    except OSError:  # the end, as Linux tells it
        pass
    os.close(leader)
    assert process.wait() == 0
    assert b"OWNED" in said
    assert b"\x1b]0;" not in said
    assert b"\x1b[2J" not in said
    assert "\u202e".encode() not in said


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


@pytest.mark.parametrize(
    ("redirection", "message"),
    [(">&-", "error: stdout is closed"), (">/dev/full", "No space left on device")],
)
def test_a_closed_or_full_stdout_is_one_line(tmp_path, redirection, message):
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    ended = subprocess.run(
        f"{sys.executable} -m prune inspect x.hdf5 {redirection}",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "error: memory is used up; use a smaller --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "error: memory is used up"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."), "use fewer --workers"),
    ],
)
def test_faults_of_the_machine_are_one_line(monkeypatch, capsys, tmp_path, error, message):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("prune.weights.stats.describe", fail)
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    assert main(["inspect", str(tmp_path / "x.hdf5")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_links_in_a_circle_are_no_fault(prune, tmp_path):
    (tmp_path / "loop.hdf5").symlink_to("loop.hdf5")
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    for words in (["inspect", "loop.hdf5"], ["convert", "loop.hdf5"], ["convert", "x.hdf5", "loop.hdf5"]):
        code, _, err = prune(*words)
        assert code == 2
        assert len(err.splitlines()) == 1


def test_verify_finds_the_files_that_a_file_came_from(prune, tmp_path):
    from prune.engine.network.files import load_network, save_network
    from prune.engine.network.fresh import new_network

    save_network(tmp_path / "base.hdf5", new_network("resnet20").after("train-base", {}))
    base = load_network(tmp_path / "base.hdf5")
    save_network(tmp_path / "narrow.hdf5", base.after("prune", {"rate": 0.5}))
    code, out, _ = prune("inspect", "--verify", "narrow.hdf5", "--json")
    assert code == 0
    first, second = json.loads(out)["parents"]
    assert (first["parent"], first["verdict"]) == (None, "began here")
    assert (Path(second["file"]).name, second["verdict"]) == ("base.hdf5", "as it was written")
    assert "as they were written" in prune("inspect", "--verify", "narrow.hdf5").out
    content = bytearray((tmp_path / "base.hdf5").read_bytes())
    place = content.index(base.model.state_dict()["linear.weight"].numpy().tobytes())
    content[place] ^= 1
    (tmp_path / "base.hdf5").write_bytes(content)
    _, out, _ = prune("inspect", "--verify", "narrow.hdf5", "--json")
    assert json.loads(out)["parents"][1]["verdict"] == "not found here"
    code, _, err = prune("inspect", "--verify", "base.hdf5")
    assert code == 2
    assert "'linear.weight' in 'base.hdf5' is not what was written" in err


def test_verify_says_where_there_is_nothing_to_compare(prune, tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["w"] = np.ones(3)
    assert "it has none" in prune("inspect", "--verify", "x.hdf5").out
    torch.save({"w": torch.ones(3)}, tmp_path / "x.pth")
    assert "as they were written" in prune("inspect", "--verify", "x.pth").out


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_a_training_that_is_ended_says_how_to_go_on(tmp_path, kind):
    environment = os.environ | {"PYTHONPATH": SRC, "PRUNE_CACHE": str(tmp_path / "cache")}
    (tmp_path / "brief.py").write_text(BRIEF)
    words = "train-base --arch brief:net --dataset digits --epochs 500 --batch-size 512 --precision fp32"
    heeding = f"import signal; signal.signal({int(kind)}, signal.SIG_DFL)"  # these tests may run under nohup
    code = f"{heeding}; from prune.cli.main import main; exit(main())"
    with warm.Process(["-c", code, *words.split(), "--out", "run"], tmp_path, environment) as process:
        for line in process.stderr:
            if line.startswith("epoch   1/500"):
                break
        process.send_signal(kind)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + kind
    last = err.splitlines()[-1]
    assert last.startswith("interrupted after epoch")
    assert last.endswith("go on with: prune train-base --resume run")
    assert not list((tmp_path / "run").glob(".prune-*"))
