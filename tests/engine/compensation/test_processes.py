"""Two processes with half the images each mend as one process does."""

import os
import socket
from pathlib import Path

import torch
import warm

SCRIPT = Path(__file__).with_name("compensation_process.py")


def start(folder: Path, number: int, count: int, port: int) -> warm.Process:
    """Start a process the way torchrun does."""
    folder.mkdir(exist_ok=True)
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "MASTER_PORT": port}
    environment = {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
    return warm.Process(["-W", "error", SCRIPT, folder], environment=os.environ | environment)


def test_two_processes_mend_as_one(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start(tmp_path / "one", 0, 1, 0), *(start(tmp_path / "two", n, 2, port) for n in range(2))]
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    alone = torch.load(tmp_path / "one" / "process 0.pt")
    first, second = (torch.load(tmp_path / "two" / f"process {n}.pt") for n in range(2))
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in first["state"])
    assert all(torch.equal(first["fitted"][name], second["fitted"][name]) for name in first["fitted"])
    assert any(not torch.equal(first["fitted"][name], first["state"][name]) for name in first["fitted"])
    torch.testing.assert_close(first["state"], alone["state"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first["errors"], alone["errors"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(first["losses"], alone["losses"], rtol=1e-3, atol=1e-7)
    assert first["orders"] == second["orders"] == alone["orders"]
    assert first["images"] == alone["images"] == 128
