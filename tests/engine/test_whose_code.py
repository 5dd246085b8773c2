"""Why channels stay: each reason names the op, the module and the line of its code."""

import re

import prune
import pytest
import torch
from around_code import SIZE, Body, Network, line_of
from prune.engine.graph.places import Reason, shown
from prune.engine.graph.trace import trace
from torch import nn


def mixed(x):
    return x.softmax(1)


def unknown(x):
    return x.renorm(2, 1, 1.0)


def lonely(x):
    return x + torch.arange(8.0)[:, None, None]


def offset(x):
    return x.sigmoid()


def split(x):
    return torch.cat([x[:, :4], x[:, 4:]], 1)


def arithmetic(x):
    return x * (x.shape[1] / 8)


def frozen(x):
    return x.view(-1, 8, 6, 6)


PINS = [
    (mixed, "channels are mixed at softmax in body, {line}", "softmax"),
    (unknown, "no rule for this op at renorm in body, {line}", "renorm"),
    (lonely, "meets a tensor without channel identity at add in body, {line}", "add"),
    (arithmetic, "mul in body computes with the number of channels, {line}", "mul"),
    (frozen, "shape '[-1, 8, 6, 6]' is invalid for input of size 504, raised in body, {line}", None),
]


@pytest.mark.parametrize(("does", "reason", "op"), PINS, ids=[p[0].__name__ for p in PINS])
def test_a_reason_names_op_module_and_line(does, reason, op):
    network = prune.wrap(Network(does).eval(), SIZE)
    stem = prune.trace(network).map.groups[0]
    (found,) = set(stem.pinned.values())
    assert found.endswith(reason.format(line=line_of(does, "return")))
    assert isinstance(found, Reason)
    if op is not None:
        assert (found.place.op, found.place.module) == (op, "body")
        assert found.place.line == line_of(does, "return")


def test_a_convolution_behind_what_is_not_zero_is_named_where_it_is_called():
    network = prune.wrap(Network(offset).eval(), SIZE)
    (found,) = set(prune.trace(network).map.groups[0].pinned.values())
    line = line_of(Network.forward, "self.last")
    assert found == f"a removed channel would not read as zero at conv2d in last, {line}"


def test_what_differs_once_it_is_narrow_is_named():
    network = prune.wrap(Network(split).eval(), SIZE)
    thin = prune.prune(network, prune.plan(network, layers={"stem": 0.25}, residual="internal"))
    assert thin.pinned == {} or all(re.search(r"test_whose_code.py:\d+", r) for r in thin.pinned.values())


def test_other_code_when_narrow_names_where_it_parts():
    def other(x):
        return x * 2 if x.shape[1] < 8 else x.relu()

    network = prune.wrap(Network(other).eval(), SIZE)
    (found,) = set(prune.trace(network).map.groups[0].pinned.values())
    assert found == (
        f"the network runs other code when it is narrower: from relu in body, {line_of(other, 'return')}"
    )


@pytest.mark.parametrize(
    ("file", "short"),
    [
        ("/usr/lib/python3.11/site-packages/torchvision/models/resnet.py", "torchvision/models/resnet.py"),
        ("/usr/lib/python3/dist-packages/nets/a.py", "nets/a.py"),
        ("/nowhere/nets.py", "/nowhere/nets.py"),
        (prune.__file__, "prune/__init__.py"),
    ],
)
def test_files_are_named_shortly(file, short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(file) == short
    assert shown(str(tmp_path / "mynets" / "small.py")) == "mynets/small.py"


def test_an_auxiliary_head_that_takes_larger_images_alone_holds_what_it_reads_and_no_more():
    class Auxiliary(Network):
        def __init__(self):
            super().__init__(None)
            self.aux = nn.Conv2d(8, 5, 9)

        def forward(self, x):
            x = self.stem(x)
            out = self.fc(self.last(x).mean((2, 3)))
            return (out, self.aux(x)) if self.training else out

    stem, last, *_ = trace(Auxiliary().eval(), SIZE).map.groups
    assert set(stem.pinned.values()) == {"goes with aux.weight, which only runs in training"}
    assert not last.pinned


def test_blocks_of_one_kind_are_pinned_together(monkeypatch):
    """Else a network of many would be cut and followed anew for each."""
    from prune.engine.narrowing import narrowing

    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.stems = nn.ModuleList(nn.Conv2d(3, 8, 3) for _ in range(6))
            self.bodies = nn.ModuleList(Body(arithmetic) for _ in range(6))
            self.last, self.fc = nn.Conv2d(48, 8, 1), nn.Linear(8, 5)

        def forward(self, x):
            maps = [body(stem(x)) for stem, body in zip(self.stems, self.bodies, strict=True)]
            return self.fc(self.last(torch.cat(maps, 1)).mean((2, 3)))

    traced = []
    monkeypatch.setattr(narrowing, "trace", lambda *args: traced.append(args) or trace(*args))
    groups = prune.trace(prune.wrap(Many().eval(), SIZE)).map.groups
    assert [group.free.any() for group in groups] == [False] * 6 + [True, False]
    assert len(traced) == 2
