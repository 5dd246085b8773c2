"""Whenever and however a command is killed, what it leaves can be gone on with, to the same bits."""

import random
import shutil
import signal
import zlib
from pathlib import Path

import pytest
from soak import commands
from soak.figures import scaled

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize(("name", "count"), commands.short_and_full(2, 200))
def test_a_killed_command_is_gone_on_with(bench, figures, tmp_path: Path, name: str, count: int):
    whole, figure = bench.whole(name), figures(f"`{name}` killed at random, then gone on with")
    draw = random.Random(zlib.crc32(name.encode()))
    for number in range(scaled(count)):
        with figure.case():
            kind = SIGNALS[(number + draw.randrange(2)) % 4]
            folder = bench.place(tmp_path / f"killed-{number}")
            killed = bench.run(name, folder, kill=kind, after=draw.uniform(0, 1.05 * whole.seconds))
            assert_put_in_order(killed, kind)
            bench.see_through(name, folder)
            assert commands.results(folder) == whole.results
            shutil.rmtree(folder)


def assert_put_in_order(killed: commands.Ended, kind: signal.Signals) -> None:
    """It ended as the signal asks, or before it came, and said no more than a line on it."""
    assert killed.code in (0, -kind, 128 + kind), killed
    assert "Exception ignored in" not in killed.err  # an interrupt in a destructor is raised again
    assert "Traceback" not in killed.err
    assert "fault in prune" not in killed.err
    if killed.code == 128 + kind:
        assert killed.err.splitlines()[-1].startswith(("interrupted", "ended by SIG")), killed.err
