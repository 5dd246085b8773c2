"""How a training computes: chosen by the device and the network, never by a clock, and unnoticed."""

import copy
import time

import pytest
import torch
from prune.engine.training import precision as choosing
from prune.engine.training.precision import Precision, choose_precision
from torch import nn

IMAGES_NCHW, LABELS_N = torch.rand(8, 3, 8, 8), torch.arange(8)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch):
    """A device with instructions for bfloat16, or none, and no clock."""

    def device(has_them: bool) -> None:
        monkeypatch.setattr(choosing, "multiplies_bf16", lambda _: has_them)

    for clock in ("perf_counter", "monotonic", "time"):
        monkeypatch.setattr(time, clock, lambda: pytest.fail("nothing is timed"))
    return device


@pytest.mark.parametrize(
    ("has_them", "given", "choice"),
    [
        (True, {}, Precision(True, True)),
        (False, {}, Precision(False, False)),
        (True, {"precision": "fp32"}, Precision(False, False)),
        (False, {"precision": "bf16"}, Precision(True, True)),
        (True, {"channels_last": False}, Precision(True, False)),
        (False, {"channels_last": True}, Precision(False, True)),
        (True, {"precision": "fp32", "channels_last": True}, Precision(False, True)),
    ],
)
def test_the_device_decides_what_is_left_open(net, native, has_them, given, choice):
    native(has_them)
    assert choose_precision(net(), IMAGES_NCHW, LABELS_N, **given) == choice


def test_choosing_leaves_no_trace(net, native):
    native(True)
    model = net()
    model[1].eval()
    model(IMAGES_NCHW).sum().backward()
    state = copy.deepcopy(model.state_dict())
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    random_state = torch.get_rng_state()
    assert choose_precision(model, IMAGES_NCHW, LABELS_N).bf16
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [module.training for module in model] == [i != 1 for i in range(len(model))]
    assert model[4].weight.is_contiguous()


def test_a_network_that_only_runs_in_float32_does_so(native):
    class FloatOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 8)

        def forward(self, images_NCHW):
            features_NCHW = self.conv(images_NCHW)
            if features_NCHW.dtype != torch.float32:
                raise RuntimeError("no such kernel")
            return features_NCHW.flatten(1)

    native(True)
    assert choose_precision(FloatOnly(), IMAGES_NCHW, LABELS_N) == Precision(False, False)


def test_the_same_seed_gives_the_same_bytes(tmp_path, net, training):
    """Whatever else the machine is doing: with everything left open, two runs end with one file."""
    for name in ("one", "two"):
        torch.manual_seed(0)
        list(training(tmp_path / name, net(), precision="auto", channels_last=None, epochs=2))
    finals = [torch.load(tmp_path / name / "final.hdf5") for name in ("one", "two")]
    assert all(torch.equal(tensor, finals[1]["model"][key]) for key, tensor in finals[0]["model"].items())
