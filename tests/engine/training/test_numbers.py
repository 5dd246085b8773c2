"""How a training is computed changes last digits alone, and what is promised to be the same is the same."""

import os
import sys
from pathlib import Path

import pytest
import torch
import warm
from prune.engine.measure.evaluation import evaluate
from prune.engine.network.fresh import new_network

THREADS = """
import sys
import torch
from conftest import blob_training, tiny_net

torch.set_num_threads(int(sys.argv[2]))
model = tiny_net()
model[3].p = 0.0
for _ in blob_training(sys.argv[1], model, epochs=1):
    pass
torch.save(model.state_dict(), sys.argv[1] + ".pt")
"""


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.fixture
def net(net):
    """Without dropout, whose masks follow the order of numbers in memory."""

    def made() -> torch.nn.Module:
        model = net()
        model[3].p = 0.0
        return model

    return made


def test_layouts_agree_but_for_rounding(tmp_path, net, training):
    plain, last = net(), net()
    list(training(tmp_path / "plain", plain, epochs=1))
    list(training(tmp_path / "last", last, epochs=1, channels_last=True))
    assert apart(weights(last), weights(plain)) < 1e-5


def test_bfloat16_trains_nearly_the_same_network(tmp_path, net, training):
    exact, rounded = net(), net()
    one = list(training(tmp_path / "fp32", exact))[-1]
    other = list(training(tmp_path / "bf16", rounded, precision="bf16", channels_last=True))[-1]
    assert 1e-5 < apart(weights(rounded), weights(exact)) < 0.1
    assert other.final.top1 == pytest.approx(one.final.top1, abs=6)
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())


def test_bfloat16_answers_are_those_of_float32_within_its_three_digits():
    model = new_network("resnet20", num_classes=10, input_size=(3, 32, 32)).model.eval()
    images_NCHW = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact_NK = model(images_NCHW)
        with torch.autocast("cpu", torch.bfloat16):
            rounded_NK = model(images_NCHW).float()
    assert (rounded_NK - exact_NK).abs().max() < 0.03 * exact_NK.abs().max()


def test_tests_are_in_float32_whatever_it_trains_in(tmp_path, net, training, blobs):
    model = net()
    finished = list(training(tmp_path / "run", model, precision="bf16", channels_last=True))[-1]
    assert evaluate(model, blobs()).loss == pytest.approx(finished.final.loss, rel=1e-5)


def test_threads_change_last_digits_alone(tmp_path):
    found = []
    for threads in ("1", "2"):
        folder = tmp_path / threads
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": threads}
        warm.run(["-c", THREADS, folder, threads], environment=environment, check=True)
        found.append(torch.load(f"{folder}.pt"))
    one, two = (torch.cat([tensor.flatten().float() for tensor in state.values()]) for state in found)
    assert apart(two, one) < 1e-4
