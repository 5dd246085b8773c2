"""`docs/operations.md`: which method reaches which operation, each cell tried."""

import copy
from pathlib import Path

import prune
import pytest
import torch
import torch.nn.functional as F
from prune.engine.compactors.sites import refused, targets
from prune.engine.compensation.compensate import compensate
from prune.engine.errors import EngineError
from prune.engine.events import unwatched
from prune.engine.graph.channels import Role
from prune.engine.graph.trace import trace
from prune.engine.masking.rows import masked_filters, zero_weights
from prune.engine.modules.inputs import Inputs
from prune.engine.narrowing.narrowing import narrow_proven
from torch import nn
from torchvision.ops import deform_conv2d

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


class Functional(nn.Module):
    """A weight that belongs to no layer, and what applies it."""

    def __init__(self, apply):
        super().__init__()
        self.weight, self.apply_to = nn.Parameter(torch.randn(16, 16, 3, 3) * 0.1), apply

    def forward(self, x):
        return self.apply_to(x, self.weight)


class First(nn.Module):
    """Of what a recurrent layer returns, what it says at each place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(16, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0]


def convolved(x, weight):
    return F.conv2d(x, weight, padding=1)


def deformed(x, weight):
    return deform_conv2d(x, x.new_zeros(x.shape[0], 18, *x.shape[2:]), weight, padding=1)


# Operation -> what makes it, what it is called, and what the layers before and behind it are.
OPERATIONS = {
    "Conv2d": (lambda: nn.Conv2d(16, 16, 3, padding=1), "op", nn.Conv2d),
    "Conv2d, grouped": (lambda: nn.Conv2d(16, 16, 3, padding=1, groups=4), "op", nn.Conv2d),
    "Conv1d": (lambda: nn.Conv1d(16, 16, 3, padding=1), "op", nn.Conv1d),
    "Conv3d": (lambda: nn.Conv3d(16, 16, 3, padding=1), "op", nn.Conv3d),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(16, 16, 3, padding=1), "op", nn.Conv2d),
    "Linear": (lambda: nn.Linear(16, 16), "op", nn.Linear),
    "F.conv2d with a parameter": (
        lambda: Functional(convolved),
        "op",
        nn.Conv2d,
    ),
    "deform_conv2d": (lambda: Functional(deformed), "op", nn.Conv2d),
    "LSTM": (First, "op.layer", nn.Linear),
}
IMAGES = {nn.Conv1d: (3, 8), nn.Conv2d: (3, 8, 8), nn.Conv3d: (3, 4, 4, 4), nn.Linear: (6, 3)}


class Net(nn.Module):
    """A stem, the operation, another layer, a classifier; the operation may be a branch."""

    def __init__(self, operation, kind, branch):
        super().__init__()
        more = () if kind is nn.Linear else (1,)
        self.stem, self.op = kind(3, 16, *more), operation
        self.last, self.fc, self.branch = kind(16, 8, *more), nn.Linear(8, 4), branch
        self.pooled = (1,) if kind is nn.Linear else tuple(range(2, len(IMAGES[kind]) + 1))

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.op(x) if self.branch else F.relu(self.op(x))
        return self.fc(F.relu(self.last(x)).mean(self.pooled))


def network(operation, *, branch=False):
    """The network, what the operation is called in it, and what it takes."""
    torch.manual_seed(0)
    make, name, kind = OPERATIONS[operation]
    return Net(make(), kind, branch).eval(), name, Inputs.like((torch.zeros(2, *IMAGES[kind]),))


def cut(operation):
    return _narrows(*network(operation), "internal")


def scatter(operation):
    return _narrows(*network(operation, branch=True), "scatter")


def _narrows(model, name, takes, residual):
    net = prune.wrap(model, inputs=takes)
    thin = prune.prune(net, prune.plan(net, rate=0.5, residual=residual))
    assert thin.difference < 1e-12
    return len(thin.kept.get(name, range(16))) == 8


def masked_in_training(operation):
    model, name, takes = network(operation)
    channel_map = trace(model, takes).map
    groups = [group for group in channel_map.groups if group.name == name and group.free.any()]
    if not groups:
        return False
    leaving = groups[0].channels[: len(groups[0].channels) // 2]
    zero_weights(masked_filters(model, channel_map, leaving))
    (axis,) = [axis for axis in channel_map.axes_of(f"{name}.weight") if axis.role is Role.PRODUCES]
    weight = model.get_parameter(f"{name}.weight").movedim(axis.dim, 0).flatten(1)
    return int(weight.eq(0).all(1).sum()) == len(weight) // 2


def resrep(operation):
    model, name, takes = network(operation)
    traced = trace(model, takes)
    reached = name in {target.name for target in targets(model, traced)}
    assert reached or name not in traced.map.layer_names or name in refused(model, traced)[name]
    return reached


def compensated(operation):
    model, name, takes = network(operation)
    traced = trace(model, takes)
    stem = traced.map.layer("stem").out_ids
    leaving = stem[::2] if operation != "Conv2d, grouped" else stem.reshape(4, 4)[:, 1:3].ravel()
    proven = narrow_proven(model, traced, takes, lambda _: leaving)
    assert proven.removed
    thin = copy.deepcopy(proven.model)
    report = unwatched(
        compensate(model, thin, proven.map, proven.removed, [torch.randn(64, *takes.args[0].shape[1:])])
    )
    forms = {layer.layer: layer.form for layer in report.layers}
    own = [layer for layer in forms if layer.startswith(name)]
    assert own
    assert all(forms[layer] != "left" or any(layer in note for note in report.notes) for layer in own)
    return forms.get(name) == "least squares"


METHODS = {
    "cut": cut,
    "masked in training": masked_in_training,
    "scatter": scatter,
    "ResRep": resrep,
    "compensated": compensated,
}


def table():
    """Operation, method and what the page says of the two."""
    rows = [
        line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")
    ]
    header, *rows = rows
    assert header[1:] == list(METHODS)
    return [(row[0], method, said) for row in rows for method, said in zip(header[1:], row[1:], strict=True)]


def test_the_page_has_every_operation():
    assert {operation for operation, _, _ in table()} == OPERATIONS.keys()


@pytest.mark.parametrize(("operation", "method", "said"), table())
def test_each_cell_is_true(operation, method, said):
    try:
        reached = METHODS[method](operation)
    except EngineError:
        reached = False
    assert said == ("yes" if reached else "no")
