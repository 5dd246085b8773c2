"""A training that is interrupted or ended: its last line says how to go on, and that works."""

import json
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from small_for_commands import BRIEF


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


SRC = str(Path(__file__).parents[3])


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
