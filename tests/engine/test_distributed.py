"""Two processes find what one finds: the same numbers within rounding, the same weights to the last bit."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from prune.engine.errors import ProcessError
from prune.engine.processes import distributed
from torch import Tensor

SCRIPT = Path(__file__).with_name("process_tasks.py")
Found = dict[str, Any]


def start(folder: Path, number: int, count: int, port: int) -> warm.Process:
    """Start a process the way torchrun does."""
    folder.mkdir(exist_ok=True)
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "MASTER_PORT": port}
    environment = {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
    return warm.Process(["-W", "error", SCRIPT, folder], environment=os.environ | environment)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, list[Found]]:
    """What a single process found, and what each of two did."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = start(folder / "one", 0, 1, 0)
    pair = [start(folder / "two", number, 2, port) for number in range(2)]
    for process in (alone, *pair):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert said == ""
    both = [torch.load(folder / "two" / f"process {number}.pt") for number in range(2)]
    return torch.load(folder / "one" / "process 0.pt"), both


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_a_synchronised_batch_norm_is_that_of_the_whole_batch(found: tuple[Found, list[Found]]):
    alone, both = (found[0]["normalised"], [one["normalised"] for one in found[1]])
    for name in ("out", "gradient"):
        together = torch.stack([one[name] for one in both], dim=1).flatten(0, 1)
        torch.testing.assert_close(together, alone[name], rtol=1e-4, atol=1e-5)
    for name in ("weight gradient", "running mean", "running variance"):
        assert torch.equal(both[0][name], both[1][name])
        torch.testing.assert_close(both[0][name], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norms", ["synchronised", "frozen"])
def test_the_course_is_that_of_one_process(found: tuple[Found, list[Found]], norms: str):
    alone, first = found[0][norms], found[1][0][norms]
    torch.testing.assert_close(first["gradients"][:4], alone["gradients"][:4], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(first["losses"], alone["losses"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first["state"], alone["state"], rtol=1e-2, atol=1e-3)


def test_the_course_shows_whether_norms_are_synchronised(found: tuple[Found, list[Found]]):
    both = found[1][0]
    difference = both["synchronised"]["gradients"][0] - both["each its own"]["gradients"][0]
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize("norms", ["synchronised", "frozen", "each its own"])
def test_both_processes_hold_the_same_at_every_step(found: tuple[Found, list[Found]], norms: str):
    first, second = (one[norms] for one in found[1])
    assert torch.equal(first["gradients"], second["gradients"])
    assert_equal(first["state"], second["state"])
    assert first["losses"] == second["losses"]


def test_one_process_writes_the_log(found: tuple[Found, list[Found]]):
    alone, both = found
    assert both[0]["frozen"]["log"] == alone["frozen"]["log"]


def test_resuming_is_exact(found: tuple[Found, list[Found]]):
    for one in (found[0], *found[1]):
        assert_equal(one["resumed"], one["each its own"]["state"])


def test_every_test_image_counts_once(found: tuple[Found, list[Found]]):
    alone, both = found[0]["evaluated"], [one["evaluated"] for one in found[1]]
    assert both[0] == both[1]
    assert alone[0] == both[0][0] == 37
    assert alone[1:] == pytest.approx(both[0][1:], rel=1e-5)


def test_recalibration_is_that_of_the_whole_batches(found: tuple[Found, list[Found]]):
    alone, both = found[0]["recalibrated"], [one["recalibrated"] for one in found[1]]
    assert_equal(both[0], both[1])
    torch.testing.assert_close(both[0], alone, rtol=1e-4, atol=1e-5)


def test_weights_that_differ_are_noticed_and_named(found: tuple[Found, list[Found]]):
    for one in found[1]:
        assert one["astray"].startswith("the processes no longer hold the same 'conv2.weight' (1 of ")


def test_the_loss_of_a_process_is_told_apart_from_other_trouble():
    with pytest.raises(ProcessError, match="another process of this job ended"), distributed.contact():
        raise RuntimeError("[/build/gloo/transport/tcp/pair.cc:545] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes do not match"), distributed.contact():
        raise RuntimeError("shapes do not match")


def test_masks_and_weights_of_compactors_are_the_same_after_every_step(found: tuple[Found, list[Found]]):
    alone, (first, second) = found[0]["compacted"], (one["compacted"] for one in found[1])
    assert torch.equal(first, second)
    masks, masks_alone = first[:, :8], alone[:, :8]
    assert masks[0].all()
    assert not masks[-1].all()
    assert torch.equal(masks[:6], masks_alone[:6])
