"""Code that torch.export cannot follow: named with what to write instead, or cut around as a module."""

import inspect
import math

import numpy as np
import prune
import pytest
import torch
import torch.nn.functional as F
from around_code import SIZE, Network, line_of
from prune.engine.errors import TraceError
from prune.engine.graph.places import shown
from prune.engine.graph.trace import trace
from prune.engine.graph.untraceable import SYMPTOMS
from torch import nn


class Whole(Network):
    """The same in the network's own code, which is no part of it that could be cut around."""

    def forward(self, x):
        return self.fc(self.last(self.body.does(self.stem(x))).mean((2, 3)))


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
