"""A disk that is really full: a small tmpfs, of many sizes, which then is given room."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from soak import commands
from soak.figures import scaled
from soak.test_crash_points import assert_one_line

SMALLEST, LARGEST = 28, 240  # kB; no command needs as much, and each begins with 24


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path: Path) -> Callable:
    """Call it with a size in kB; the disk stands there while the context lasts."""
    place = tmp_path / "disk"
    place.mkdir()

    @contextmanager
    def of(kilobytes: int) -> Iterator[Path]:
        mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)

    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    try:
        with of(SMALLEST):
            pass
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a tmpfs cannot be mounted: {error.stderr.strip()}")
    return of


@pytest.mark.parametrize(("name", "count"), commands.short_and_full(2, 24))
def test_a_full_disk(bench, figures, tmp_path: Path, disk: Callable, name: str, count: int):
    """One line; with room, the command is gone on with, or typed anew, to the same bits."""
    whole, figure = bench.whole(name), figures(f"`{name}`: a disk (tmpfs) of {SMALLEST} to {LARGEST} kB")
    refused = 0
    for number in range(scaled(count)):
        with figure.case(), disk(int(SMALLEST * (LARGEST / SMALLEST) ** (number / scaled(count)))) as root:
            folder = bench.place(root / "work")
            ended = bench.run(name, folder)
            assert_one_line(ended)
            if ended.code != 0:
                refused += 1
                assert "No space left on device" in ended.err
                assert not list(folder.rglob("*.tmp")), "what is half written takes room"
            mount("-o", "remount,size=64M", str(root))
            bench.see_through(name, folder)
            assert commands.results(folder) == whole.results
    figure.notes.append(f"{refused} times full")
    assert refused
