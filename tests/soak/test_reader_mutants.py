"""Damaged files of every kind but weights: each is refused in one line or harmless, and soon."""

import random
import resource
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from soak.figures import scaled
from soak.readers import READERS, REFUSALS, Reader

LONGEST = 2.0  # seconds
LARGEST = 400e3  # kB that all of them together may add to this process
pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow and NumPy warn of what they then refuse


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_damaged_file_is_refused_or_harmless(figures, tmp_path: Path, reader: Reader, count: int):
    path = tmp_path / "run" / reader.name
    path.parent.mkdir()
    reader.make(path)
    content, draw = path.read_bytes(), random.Random(zlib.crc32(reader.name.encode()))
    reader.read(path)
    figure, before = figures(f"damaged `{reader.name}`"), peak()
    for number in range(scaled(count)):
        with figure.case():
            path.write_bytes(reader.damage(content, draw))
            began = time.monotonic()
            with suppress(*REFUSALS):
                reader.read(path)
            assert time.monotonic() - began < LONGEST, number
    assert peak() - before < LARGEST


def peak() -> float:
    """The most memory this process has had, in kB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most
