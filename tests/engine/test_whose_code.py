"""Why channels stay, and why a network cannot be followed: op, module, line of its code, and the way out."""

import inspect
import math
import re

import numpy as np
import prune
import pytest
import torch
import torch.nn.functional as F
from prune.engine.errors import TraceError
from prune.engine.graph.places import Reason, shown
from prune.engine.graph.trace import trace
from prune.engine.graph.untraceable import SYMPTOMS
from torch import nn

SIZE = (3, 8, 8)


class Body(nn.Module):
    """Does something to a feature map in a module of its own."""

    def __init__(self, does):
        super().__init__()
        self.does = does

    def forward(self, x):
        return self.does(x)


class Network(nn.Module):
    """A convolution, something, another convolution, a pooled classifier."""

    def __init__(self, does):
        super().__init__()
        self.stem, self.body, self.last = nn.Conv2d(3, 8, 3), Body(does), nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.last(self.body(self.stem(x))).mean((2, 3)))


class Whole(Network):
    """The same in the network's own code, which is no part of it that could be cut around."""

    def forward(self, x):
        return self.fc(self.last(self.body.does(self.stem(x))).mean((2, 3)))


def line_of(function, words):
    """`file:line` of the first line of a function that holds these words."""
    lines, first = inspect.getsourcelines(function)
    return f"{shown(__file__)}:{first + next(n for n, line in enumerate(lines) if words in line)}"


# What torch.export cannot follow, a network per way of writing it. Each stands on its second line.


def branch(x):
    if x.sum() > 0:
        return x + 1
    return x


def truth(x):
    y = x if x[0, 0, 0, 0] else -x
    return y


def negation(x):
    return x * (not x.any())


def chosen(x):
    return torch.stack([image for image in x if image.sum() > 0])


def compared(x):
    return x if torch.equal(x, x) else -x


def endless(x):
    while x.norm() > 1:
        x = x / 2
    return x


def asserted(x):
    assert x.min() >= 0
    return x


def counted(x):
    for turn in range(int(x.sum())):
        x = x + turn
    return x


def each(x):
    for place in x.nonzero():
        x = x + place[0]
    return x


def number(x):
    return x * math.sqrt(x.max().item())


def size(x):
    return F.interpolate(x, scale_factor=float(x.mean()))


def array(x):
    return torch.from_numpy(np.maximum(np.asarray(x), 0))


def detached(x):
    return torch.as_tensor(x.detach().cpu().numpy() * 2)


def made(x):
    return torch.tensor([image.mean() for image in x])[:, None, None, None] * x


def told(x):
    return x * float(f"{x.max():.2f}")


STUMBLES = [
    (branch, "chooses by values", "torch.where"),
    (truth, "chooses by values", "torch.where"),
    (negation, "chooses by values", "torch.where"),
    (chosen, "chooses by values", "torch.where"),
    (compared, "chooses by values", "torch.where"),
    (endless, "loops as long as", "a fixed number of times"),
    (asserted, "asserts something", "check shapes alone"),
    (counted, "loops as often as", "as x.shape says"),
    (each, "as many elements or turns", "torch.topk"),
    (number, "becomes a Python number", "keep it a tensor"),
    (size, "becomes a Python number", "keep it a tensor"),
    (array, "leave torch for numpy", "compute with torch"),
    (detached, "leave torch for numpy", "compute with torch"),
    (made, "is made from values of others", "torch.stack"),
    (told, "become text", "leave it out"),
]


@pytest.mark.parametrize(("does", "what", "instead"), STUMBLES, ids=[s[0].__name__ for s in STUMBLES])
def test_code_that_cannot_be_followed_is_named_with_what_to_write(does, what, instead):
    with pytest.raises(TraceError) as caught:
        trace(Whole(does).eval(), SIZE)
    message = str(caught.value)
    lines, first = inspect.getsourcelines(does)
    number, code = next((n, line.strip()) for n, line in enumerate(lines) if f"`{line.strip()}`" in message)
    assert f", {shown(__file__)}:{first + number}, `{code}`; " in message
    assert what in message
    assert instead in message.rpartition(";")[2]
    assert "\n" not in message


def test_every_symptom_is_shown_by_a_network():
    shown_here = {what for _, what, _ in STUMBLES}
    assert all(any(what in symptom.does for what in shown_here) for symptom in SYMPTOMS)


def test_what_torch_itself_says_best_is_kept_with_its_place():
    def wrong(x):
        return x.view(2, 9, 4)

    with pytest.raises(TraceError, match="shape '\\[2, 9, 4\\]' is invalid for input of size 576") as caught:
        trace(Network(wrong).eval(), SIZE)
    assert str(caught.value).endswith(f"raised in body, {line_of(wrong, 'view')}")


@pytest.mark.parametrize(
    "does",  # whatever it was that stopped it, it is cut around in one way
    [
        branch,
        counted,
        made,
        *(pytest.param(does, marks=pytest.mark.soak) for does in (endless, number, array)),
    ],
)
def test_a_module_that_cannot_be_followed_is_cut_around(does, randomise):
    full = randomise(Network(does))
    network = prune.wrap(full, SIZE)
    stem, last, _ = prune.trace(network).map.groups
    (found,) = set(stem.pinned.values())
    assert f", in body, {shown(__file__)}:" in found
    assert not last.pinned
    thin = prune.prune(network, prune.plan(network, rate=0.5))
    assert thin.model.last.out_channels == 4
    assert thin.model.stem.out_channels == 8
    kept = torch.tensor(thin.kept["last"])
    images = torch.rand(4, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        full.double().fc.weight[:, [c for c in range(8) if c not in kept]] = 0
        assert torch.allclose(full(images), thin.model.double()(images), rtol=1e-9)


class Picky(nn.Module):
    """Looks at its input before it convolves it; returns a dictionary of two maps."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x, *, scale):
        if x.mean() > 0:
            x = x * scale
        return {"one": self.one(x), "two": (self.two(x), None)}


class Around(nn.Module):
    """Calls it twice; one of its weights is used outside too."""

    def __init__(self):
        super().__init__()
        self.stem, self.picky, self.mix = nn.Conv2d(3, 8, 3), Picky(), nn.Conv2d(10, 8, 3, padding=1)
        self.again, self.last, self.fc = nn.Conv2d(8, 6, 1), nn.Conv2d(16, 9, 1), nn.Linear(9, 5)
        self.again.weight = self.picky.one.weight

    def forward(self, x):
        seen = self.picky(self.stem(x), scale=2.0)
        x = self.mix(torch.cat([seen["one"], seen["two"][0]], 1))
        seen = self.picky(x, scale=3.0)
        x = torch.cat([seen["one"], seen["two"][0], self.again(x)], 1)
        return self.fc(self.last(x).mean((2, 3)))


def test_what_a_module_that_is_cut_around_touches_keeps_its_channels():
    torch.manual_seed(0)
    network = prune.wrap(Around().eval(), SIZE)
    groups = {group.name: group for group in prune.trace(network).map.groups}
    assert {name: int(group.free.sum()) for name, group in groups.items()} == {
        "stem": 0, "mix": 0, "picky.one": 0, "last": 9, "fc": 0
    }  # fmt: skip
    assert "`if x.mean() > 0:`" in next(iter(groups["stem"].pinned.values()))
    thin = prune.prune(network, prune.plan(network, rate=0.5))
    assert thin.difference < 1e-12
    assert thin.model.last.out_channels == 5
    assert "forward" not in vars(network.model.picky)


def test_what_fails_in_a_plain_run_too_is_not_cut_around():
    def wrong(x):
        if x.sum() > 0 or True:
            return x.reshape(7, -1)

    with pytest.raises(TraceError, match="Python chooses by values of a tensor"):
        trace(Network(wrong).eval(), SIZE)


def test_numbers_that_come_out_of_a_module_are_not_cut_off():
    class Counts(nn.Module):
        def forward(self, x):
            return int(x.sum()) if x.sum() > 0 else 1

    class Counted(Network):
        def forward(self, x):
            x = self.stem(x)
            return self.fc((self.last(x) * self.body(x)).mean((2, 3)))

    network = Counted(None).eval()
    network.body = Counts()
    with pytest.raises(TraceError, match="Python chooses by values of a tensor, in body"):
        trace(network, SIZE)


def test_code_without_a_file_is_no_matter():
    with pytest.raises(TraceError, match="chooses by values of a tensor"):
        trace(Whole(eval("lambda x: x if x.sum() > 0 else -x")).eval(), SIZE)


# Why channels stay.


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
