"""Run folders: begun anew where nothing is lost, held by one process, and honest about what they read."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from prune.engine.data.base import ImageData
from prune.engine.errors import TrainingError
from prune.engine.events import Note
from prune.engine.jobs.inputs import fingerprints, require_same
from prune.engine.runs import lock, own_code
from prune.engine.runs.runs import Run, newest_base
from prune.weights.errors import OutputExists
from prune.weights.files import atomic_write

BASE = {"command": "train-base", "arch": "resnet20", "dataset": "digits"}


@pytest.mark.parametrize(
    "left",
    ["", ".prune-0123456789abcdef.tmp", "environment.json", "environment.json config.json log.jsonl .lock"],
)
def test_a_start_that_was_cut_short_is_no_obstacle(tmp_path, left):
    for name in left.split():
        (tmp_path / name).write_text("{}")
    run = Run.create(tmp_path, BASE)
    assert not list(tmp_path.glob(".prune-*"))
    run.begin_log(Note("anew"))
    assert [record["text"] for record in run.read_log()] == ["anew"]
    assert not Run.open(tmp_path).begun
    lock.let_go(tmp_path)


def test_what_may_be_somebody_elses_is_no_cut_start(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TrainingError, match="is not empty"):
        Run.create(tmp_path, BASE)


def test_files_without_end_are_not_read(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/zero")
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert Run(tmp_path, {}).read_log() == []
    with pytest.raises(TrainingError, match=r"config\.json is not a regular file"):
        Run.open(tmp_path)


def test_a_start_that_was_cut_short_says_what_to_do(tmp_path):
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(TrainingError, match="type the command again that began it"):
        Run.open(tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path):
    program = (
        "import sys; from pathlib import Path; from prune.engine.runs import lock; "
        f"lock.hold(Path({str(tmp_path)!r})); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdin
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TrainingError, match=f"is in use by process {holder.pid} on .*; wait until it ends"):
        Run(tmp_path, {}).lock()
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert (tmp_path / lock.NAME).exists()  # of nobody
    Run(tmp_path, {}).lock()
    Run(tmp_path, {}).lock()
    lock.let_go(tmp_path)
    assert not (tmp_path / lock.NAME).exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    def write() -> None:
        with atomic_write(tmp_path / "x") as aside:
            aside.write_text("mine")
            (tmp_path / "x").write_text("theirs")

    with pytest.raises(OutputExists, match="another meanwhile"):
        write()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "theirs")]


def test_a_file_system_without_links_is_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with atomic_write(tmp_path / "x") as aside:
        aside.write_text("mine")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_linked_log_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").symlink_to(tmp_path / "elsewhere")
    run = Run(tmp_path / "run", {})
    with pytest.raises(TrainingError, match=r"log\.jsonl cannot be written"):
        run.log(Note("x"))
    assert not (tmp_path / "elsewhere").exists()


def test_every_line_of_the_log_is_synced(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    Run(tmp_path, {}).log(Note("x"))
    assert len(synced) == 1


def test_a_clock_set_back_does_not_make_an_older_run_the_newest(tmp_path):
    for name in ("first", "second", "third"):
        run = Run.create(tmp_path / name, BASE)
        run.best.write_bytes(b"weights")
        run.finish({})
        if name == "first":
            ahead = json.loads(run.report.read_text()) | {"finished_at": "2999-01-01T00:00:00+00:00"}
            run.report.write_text(json.dumps(ahead))
    assert newest_base(tmp_path, "resnet20", "digits") == tmp_path / "third" / "best.hdf5"
    times = [
        datetime.fromisoformat(json.loads((tmp_path / name / "report.json").read_text())["finished_at"])
        for name in ("first", "second", "third")
    ]
    assert times == sorted(times)


@pytest.mark.parametrize("config", ["[]", "3", "null", "[" * 100_000, "\x80"])
def test_a_config_that_is_no_object_is_told(tmp_path, config):
    (tmp_path / "config.json").write_text(config, encoding="latin-1")
    with pytest.raises(TrainingError, match=r"config\.json cannot be read"):
        Run.open(tmp_path)


def test_odd_lines_end_a_log(tmp_path):
    good = json.dumps({"event": "EpochDone", "epoch": 1})
    for odd in ("3", "[]", '{"event": 3}', '{"event": "EpochDone", "epoch": "x"}', "[" * 100_000):
        (tmp_path / "log.jsonl").write_text(f"{good}\n{odd}\n{good}\n")
        assert len(Run(tmp_path, {}).read_log()) == 1
        Run(tmp_path, {}).rewind_log(1)


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A module of the user's own in a package; importing it would leave a trace."""
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("open('ran', 'w').close()\n")
    (tmp_path / "nets" / "small.py").write_text("build = 3\n")
    return tmp_path


def test_own_code_is_remembered_by_its_source_and_never_run(own: Path):
    arch, folder = "nets.small:build", own / "run"
    with pytest.raises(TrainingError, match=r"add `arch` nets\.small:build"):
        own_code.require_named(arch, None, folder)
    own_code.require_named(arch, arch, folder)
    own_code.remember(arch)
    own_code.require_named(arch, None, folder)
    for changed in ("small.py", "__init__.py"):
        text = (own / "nets" / changed).read_text()
        (own / "nets" / changed).write_text(text + "more = 1\n")
        with pytest.raises(TrainingError, match="as it is now"):
            own_code.require_named(arch, None, folder)
        (own / "nets" / changed).write_text(text)
        own_code.require_named(arch, None, folder)
    with pytest.raises(TrainingError, match=r"is a run of nets\.small:build, not of resnet20"):
        own_code.require_named(arch, "resnet20", folder)
    for arch in ("resnet20", "torchvision:resnet18", None):
        own_code.require_named(arch, None, folder)
    assert not (own / "ran").exists()


class Images(ImageData):
    """Images of which only the digest matters."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def size(self, split):
        raise NotImplementedError

    def _read(self, split, requests, device):
        raise NotImplementedError

    def fingerprint(self):
        return self.digest


def test_what_a_run_reads_is_compared_when_it_goes_on(own: Path):
    files = {name: own / name for name in ("start", "teacher", "scores")}
    for path in files.values():
        path.write_text("as it was")
    files["scores"].unlink()
    files["scores"].mkdir()
    (files["scores"] / "rank_conv1.npy").write_text("as it was")
    arch = "nets.small:build"

    def now(images: str = "images") -> dict[str, str | None]:
        return fingerprints({**files, "like": None}, arch, Images(images))

    run = Run(own, {"inputs": now()})
    require_same(run, now())
    for name in ("start", "teacher", "scores/rank_conv1.npy"):
        (own / name).write_text("other")
        with pytest.raises(TrainingError, match=f"what `{name.partition('/')[0]}` names is not the file"):
            require_same(run, now())
        (own / name).write_text("as it was")
    (own / "nets" / "small.py").write_text("build = 4\n")
    with pytest.raises(TrainingError, match=r"what `arch` names is not the file .* go on with `anyway`"):
        require_same(run, now())
    run.anyway = True
    require_same(run, now())
    with pytest.raises(TrainingError, match="are not the images"):
        require_same(Run(own, {"inputs": {"images": "images"}}), now("others"))
    require_same(Run(own, {}), now())  # of an earlier version
    with pytest.raises(TrainingError, match="inputs is 3"):
        require_same(Run(own, {"inputs": 3}), now())


def test_what_a_killed_process_leaves_behind_is_waited_for(tmp_path):
    """A loader's workers inherit the lock, and outlive by seconds the process that holds it."""
    program = (
        "import os, time; from pathlib import Path; from prune.engine.runs import lock; "
        f"lock.hold(Path({str(tmp_path)!r})); "
        "os.fork() or (print('held', flush=True), time.sleep(1), os._exit(0)); os._exit(0)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    holder.wait()
    Run(tmp_path, {}).lock()
    lock.let_go(tmp_path)
    holder.stdout.close()
