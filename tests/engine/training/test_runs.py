"""The folder a run leaves behind."""

import json
import math
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prune.engine.errors import TrainingError
from prune.engine.events import Note, RunStarted
from prune.engine.runs.environment import _git_commit
from prune.engine.runs.runs import Run, newest_base, next_run_folder
from prune.weights.files import atomic_write

ROOT = Path(__file__).parents[3]
BASE = {"command": "train-base", "arch": "resnet20", "dataset": "digits"}


def finished_run(folder, config, when):
    run = Run.create(folder, config)
    run.best.write_bytes(b"weights")
    run.report.write_text(json.dumps({"finished_at": when}))
    return run


def test_a_run_explains_itself(tmp_path):
    run = Run.create(tmp_path / "deep" / "run", BASE | {"out": tmp_path, "milestones": (1, 2)})
    environment = json.loads((run.folder / "environment.json").read_text())
    assert {"versions", "processor", "threads", "gpus", "git_commit", "command"} <= environment.keys()
    assert environment["versions"]["torch"].startswith("2.")
    assert environment["git_commit"] == commit_of_the_sources()
    reopened = Run.open(run.folder)
    assert reopened.config == BASE | {"out": str(tmp_path), "milestones": [1, 2]}
    run.finish({"loss": math.nan, "top1": 12.5})
    report = json.loads(run.report.read_text())
    assert (report["loss"], report["top1"]) == (None, 12.5)
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "environment.json", "report.json"}


def test_a_used_folder_needs_force_which_spares_what_is_not_the_runs(tmp_path):
    run = finished_run(tmp_path / "run", BASE, "2026-01-01")
    (run.folder / "notes.txt").write_text("mine")
    run.log(Note("old"))
    for begin in (Run.check_free, lambda folder: Run.create(folder, BASE)):
        with pytest.raises(TrainingError, match="run is not empty; resume it"):
            begin(run.folder)
    Run.check_free(run.folder, force=True)
    Run.check_free(tmp_path / "absent")
    assert run.report.exists()
    assert not (tmp_path / "absent").exists()
    Run.create(run.folder, BASE | {"arch": "vgg"}, force=True)
    kept = {"config.json", "environment.json", "notes.txt", ".lock"}
    assert {path.name for path in run.folder.iterdir()} == kept
    assert Run.open(run.folder).config["arch"] == "vgg"


def test_folders_that_cannot_be_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file is a file; a run needs a folder"):
        Run.create(tmp_path / "file", BASE)
    with pytest.raises(TrainingError, match="run cannot be made a run's folder: Not a directory"):
        Run.create(tmp_path / "file" / "run", BASE)
    with pytest.raises(TrainingError, match=r"holds no run: there is no config\.json"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TrainingError, match=r"config\.json cannot be read"):
        Run.open(tmp_path)


def test_the_log_is_one_object_a_line(tmp_path):
    run = Run.create(tmp_path / "run", BASE)
    run.log(RunStarted(run.folder, 3, 0, 10, "cpu", "fp32", False))
    run.log(Note("a\nb"))
    assert [record["event"] for record in run.read_log()] == ["RunStarted", "Note"]
    assert run.read_log()[1]["text"] == "a\nb"


@pytest.mark.parametrize(("epoch", "kept"), [(0, 1), (1, 2), (2, 3), (9, 4)])
def test_the_log_is_rewound(tmp_path, epoch, kept):
    run = Run.create(tmp_path / "run", BASE)
    lines = [json.dumps({"event": "EpochDone", "epoch": number}) for number in (1, 2, 3)]
    lines = ['{"event": "RunStarted"}', *lines]
    (run.folder / "log.jsonl").write_text("\n".join([*lines, '{"event": "Finished"}', '{"ev']))
    run.rewind_log(epoch)
    assert (run.folder / "log.jsonl").read_text().splitlines() == lines[:kept]


def test_run_folders_are_numbered(tmp_path):
    name = "train-base-resnet56-digits"
    assert next_run_folder(tmp_path / "runs", name) == tmp_path / "runs" / f"{name}-001"
    (tmp_path / "runs" / f"{name}-041").mkdir()
    (tmp_path / "runs" / f"{name}-noise-099").mkdir()
    assert next_run_folder(tmp_path / "runs", name).name == f"{name}-042"
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="no run folder can be made"):
        next_run_folder(tmp_path / "file", name)


def test_run_folders_made_at_once_are_different(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: next_run_folder(tmp_path, "run"), range(64)))
    assert sorted(folder.name for folder in folders) == [f"run-{number:03}" for number in range(1, 65)]


def test_newest_base_is_the_last_finished_of_its_kind(tmp_path):
    finished_run(tmp_path / "b", BASE, "2026-01-02")
    newest = finished_run(tmp_path / "a", BASE, "2026-01-03")
    finished_run(tmp_path / "c", BASE | {"arch": "vgg"}, "2026-01-04")
    finished_run(tmp_path / "d", BASE | {"dataset": "cifar10"}, "2026-01-04")
    finished_run(tmp_path / "e", BASE | {"command": "finetune"}, "2026-01-04")
    finished_run(tmp_path / "f", BASE, "2026-01-04").report.unlink()
    finished_run(tmp_path / "g", BASE, "2026-01-04").report.write_text("{")
    finished_run(tmp_path / "h", BASE, "2026-01-04").best.unlink()
    assert newest_base(tmp_path, "resnet20", "digits") == newest.best
    newest.best.rename(newest.final)
    assert newest_base(tmp_path, "resnet20", "digits") == newest.final
    assert newest_base(tmp_path, "resnet20", "flowers") is None
    assert newest_base(tmp_path / "absent", "resnet20", "digits") is None


def test_a_file_is_replaced_wholly_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted_write():
        with atomic_write(path, force=True) as aside:
            aside.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert path.read_bytes() == b"old"
    with atomic_write(path, force=True) as aside:
        aside.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    ordinary = Path(tmp_path / "ordinary")
    ordinary.touch()
    assert os.stat(path).st_mode == os.stat(ordinary).st_mode


def commit_of_the_sources() -> str | None:
    """What git says of the repository that these tests stand in; None where they stand in none."""
    if not (ROOT / ".git").exists():
        return None
    commit = git(ROOT, "rev-parse", "HEAD")
    return commit + "-dirty" * bool(git(ROOT, "status", "--porcelain", "--untracked-files=no"))


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_clone_and_of_a_worktree(tmp_path: Path):
    clone, worktree = tmp_path / "clone", tmp_path / "worktree"
    clone.mkdir()
    assert _git_commit(clone) is None
    git(clone, "init", "-q")
    assert _git_commit(clone) is None  # there is nothing to name yet
    (clone / "a.py").write_text("1\n")
    git(clone, "add", "a.py")
    git(clone, "commit", "-qm", "first")
    git(clone, "tag", "v1")
    commit = git(clone, "rev-parse", "HEAD")
    git(clone, "worktree", "add", "-q", str(worktree))
    assert (worktree / ".git").is_file()
    assert _git_commit(clone) == _git_commit(worktree) == commit
    (clone / "a.py").write_text("2\n")
    assert _git_commit(clone) == f"{commit}-dirty"
    assert _git_commit(worktree) == commit


def test_a_copy_inside_another_repository_has_no_commit(tmp_path: Path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert _git_commit(inside) is None
