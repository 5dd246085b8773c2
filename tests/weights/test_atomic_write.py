"""Outputs: checked before work begins, and written whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from prune.weights.errors import OutputExists, UnwritableOutput
from prune.weights.files import atomic_write, check_output, sha256


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def write_and(happens, path: Path, argument, force: bool = False) -> None:
    """Write a file, with something happening before the write is over."""
    with atomic_write(path, force) as aside:
        aside.write_bytes(b"new")
        happens(argument)


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    def fail(error):
        raise error

    path = tmp_path / "x"
    path.write_bytes(b"old")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            write_and(fail, path, error, force=True)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.hdf5"
    program = """if True:
        import os, signal, sys
        import numpy as np
        from prune.weights.store import WeightFile, write
        write(sys.argv[1], WeightFile({"w": np.zeros(1)}))
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write(sys.argv[1], WeightFile({"w": np.ones(1)}), force=True)
    """
    assert run(program, path).returncode == -signal.SIGKILL
    check = "import sys; from prune.weights.store import read; print(read(sys.argv[1]).tensors['w'])"
    assert run(check, path).stdout.strip() == "[0.]"


@pytest.mark.parametrize("suffix", ["hdf5", "pth", "safetensors"])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, suffix):
    pytest.importorskip(suffix if suffix == "safetensors" else "h5py")
    program = """if True:
        import resource, sys
        import numpy as np
        from prune.weights.errors import UnwritableOutput
        from prune.weights.formats import WeightFile, write_any
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_any(sys.argv[1], WeightFile({str(i): np.ones((100, 100)) for i in range(20)}))
        except UnwritableOutput as error:
            print(error)
    """
    done = warm.run(["-c", program, tmp_path / f"x.{suffix}"])
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == f"could not write '{tmp_path}/x.{suffix}': File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_the_new_file_has_the_usual_mode(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "x") as aside:
            aside.write_bytes(b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_an_existing_output_is_refused_without_force(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(OutputExists, match=r"exists.*`force`"):
        check_output(path)
    with pytest.raises(OutputExists), atomic_write(path) as aside:
        aside.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    with atomic_write(path, force=True) as aside:
        aside.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(OutputExists):
        write_and(path.write_bytes, path, b"theirs")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_that_cannot_be_are_named(tmp_path):
    (tmp_path / "file").touch()
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "x", "no folder '.*none'.*mkdir -p"),
        (tmp_path / "file" / "x", "is a file, not a folder"),
        (Path("/dev/null"), "not a regular file"),
    ]:
        with pytest.raises(UnwritableOutput, match=message):
            check_output(path, force=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UnwritableOutput, match="no permission"):
        check_output(tmp_path / "x")


def test_sha256_is_the_known_one(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
