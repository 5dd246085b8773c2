"""Where and with what a command ran, so that its numbers can be understood later."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]  # the repository, where this is used from a clone


def environment() -> dict[str, Any]:
    """Versions, processor, GPUs, threads, git commit and command line; plain values only."""
    packages = {"prune": "prune-cnn", "torch": "torch", "torchvision": "torchvision", "numpy": "numpy"}
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(distribution) for name, distribution in packages.items()},
        },
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(gpus)],
        "cuda": torch.version.cuda,
        "git_commit": _git_commit(ROOT),
        "command": shlex.join(sys.argv),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # used from a source folder, never installed
        return None


def _processor() -> str:
    """The processor's model name; Linux alone keeps it in a file."""
    description = Path("/proc/cpuinfo")
    if description.is_file():
        for line in description.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_commit(source: Path) -> str | None:
    """The commit of the source folder, `-dirty` if it was changed since; None outside a repository."""
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no commit yet
        return None
    return answer.stdout.strip()
