"""`prune inspect --channels`, by its whole output and in a narrow terminal."""

import json
import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import warm
from prune.cli.main import main
from prune.weights import store

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.stem, self.into, self.back = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.gate, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(4, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.back(self.into(x).relu())
        return self.fc(self.gate(x).softmax(1).mean((2, 3)))
"""
WORDS = ["inspect", "--channels", "--arch", "channelled:Net", "--num-classes", "5", "--image-size", "8"]


@pytest.fixture(autouse=True)
def here(own_module: Callable[[str, str], Path]) -> Path:
    return own_module("channelled", NETWORK)


def test_a_network(capsys: pytest.CaptureFixture[str]):
    assert main(WORDS) == 0
    assert capsys.readouterr().out == dedent("""\
        channelled:Net, images 3x8x8: 4 groups of channels
        group             channels  may leave  stream  held by
        ──────────────────────────────────────────────────────
        stem and 1 more:         8          8     yes
          stem
          back
        into                     6          6
        gate                     4          0              [1]
        fc                       5          0              [2]

        [1]  channels are mixed at softmax in the top module, channelled.py:14 (4 channels); the op reads all channels at once; they stay whole
        [2]  network output (5 channels); what the network returns keeps its width

        residual  least MACs  can leave  least params
        ─────────────────────────────────────────────
        internal       9,524      23.2%           310
        coupled        1,208      90.3%            65
        scatter        8,408      32.2%           269

        stream: outputs of several layers are added into it; --residual internal leaves it alone. Least: with one channel left in every group that may lose all but one.
        """)  # noqa: E501


def test_its_facts(capsys: pytest.CaptureFixture[str]):
    assert main([*WORDS, "--json", "--filter", "gate"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["reach"]["coupled"]["macs"] == 1208
    (gate,) = facts["groups"]
    (hold,) = gate["holds"]
    assert hold["place"] == {"op": "softmax", "module": "", "line": "channelled.py:14"}
    assert (gate["channels"], gate["free"], gate["stream"], gate["members"]) == (4, 0, False, ["gate"])


def test_a_file(capsys: pytest.CaptureFixture[str]):
    import prune

    sys.path.insert(0, ".")
    import channelled  # pyright: ignore[reportMissingImports]

    prune.save("net.hdf5", prune.wrap(channelled.Net().eval(), 8, arch="channelled:Net"))
    words = ["inspect", "net.hdf5", "--channels", "--arch", "channelled:Net", "--filter", "ba*"]
    assert main(words) == 0
    assert "1 group of channels\n" in capsys.readouterr().out


def test_ways_out_are_said_as_they_are_typed(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "normed.py").write_text(
        NETWORK.replace("self.gate(x).softmax(1)", "nn.functional.group_norm(self.gate(x), 1)")
    )
    assert main(["inspect", "--channels", "--arch", "normed:Net", *WORDS[4:]]) == 0
    assert "; --through-norms lets them leave" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inspect"], "give a weight file"),
        (["inspect", "--channels"], "give a weight file, or the name of a network with --arch"),
        ([*WORDS, "--verify"], "--verify has no effect with --channels"),
        ([*WORDS, "--filter", "nothing"], "'nothing' matches no layer"),
        (["inspect", "--arch", "resnet20", "x.hdf5"], "--arch has no effect without --channels"),
    ],
)
def test_slips(words: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str]):
    store.write(here / "x.hdf5", store.WeightFile({"weight": np.zeros(3, np.float32)}))
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_a_refused_budget_points_here(capsys: pytest.CaptureFixture[str]):
    words = ["flops", *WORDS[2:], "--flops", "0.01"]
    assert main(words) == 2
    assert (
        "at most 23.2% of the MACs can leave in --residual internal, 90.3% in coupled, perhaps more in "
        "scatter; `prune inspect` with --channels says what holds the rest"
    ) in capsys.readouterr().err


def test_in_80_columns(here: Path):
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    child = warm.Process(["-m", "prune", *WORDS], environment=environment, terminal=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            read = os.read(leader, 1 << 16)
        except OSError:
            break
        if not read:
            break
        shown += read
    with child:
        assert child.wait() == 0
    lines = shown.decode().replace("\r", "").splitlines()
    assert all(len(line) <= 80 + line.count("\x1b") * 6 for line in lines)
    assert any("softmax in the top module, channelled.py:14" in line for line in lines)
