"""Timings of networks whose speed is known."""

import time

import pytest
import torch
from prune.engine import devices
from prune.engine.devices import resolve_device
from prune.engine.errors import EngineError
from prune.engine.measure.latency import MIN_REPEATS, measure
from torch import nn


class Sleeper(nn.Module):
    def __init__(self, seconds, calls):
        super().__init__()
        self.seconds, self.calls = seconds, calls

    def forward(self, images_NCHW):
        assert not self.training
        assert images_NCHW.shape[1:] == (3, 4, 5)
        self.calls.append((self.seconds, len(images_NCHW)))
        time.sleep(self.seconds)
        return images_NCHW


def test_measure_knows_who_is_faster_and_takes_turns():
    calls = []
    models = {"slow": Sleeper(0.02, calls), "fast": Sleeper(0.01, calls).train()}
    timings = measure(models, (3, 4, 5), batch_sizes=(1, 4), repeats=6)
    assert [latency.batch_size for latency in timings["fast"]] == [1, 4]
    for slow, fast in zip(timings["slow"], timings["fast"], strict=True):
        assert slow.speedup == 1.0
        assert fast.speedup == pytest.approx(2, rel=0.2)
        assert fast.median_ms == pytest.approx(10, rel=0.3)
        assert fast.low_ms <= fast.median_ms <= fast.high_ms
        assert fast.images_per_s == pytest.approx(fast.batch_size / fast.median_ms * 1e3)
        assert fast.repeats == 6
    timed = [seconds for seconds, batch in calls if batch == 1][4:]  # after two warm-up passes of both
    assert timed == [0.02, 0.01, 0.01, 0.02] * 3
    assert models["fast"].training


def test_measure_stops_when_time_is_up():
    (latency,) = measure({"net": Sleeper(0.01, [])}, (3, 4, 5), batch_sizes=(2,), repeats=1000, seconds=0.01)[
        "net"
    ]
    assert latency.repeats == MIN_REPEATS


@pytest.mark.parametrize("name", ["tpu", "", "cpu:1", "cuda:", "cuda:x", "cuda:-1", "CUDA"])
def test_unknown_devices(name):
    with pytest.raises(EngineError, match=f"no device '{name}'; allowed: auto, cpu, cuda, cuda:N"):
        resolve_device(name)


def test_devices_with_and_without_gpus(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(EngineError, match="PyTorch sees no GPU"):
        resolve_device("cuda")
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(EngineError, match="'cuda:2' was asked for, but there are only 2 GPUs"):
        resolve_device("cuda:2")
