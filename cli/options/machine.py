"""On what a command works."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from ..processes import take_part
from .group import Group, setting

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Machine(Group, panel="Machine"):
    """Device and threads of one process."""

    device: str = setting("NAME", "auto, cpu, cuda or cuda:N.", default="auto")
    threads: int | None = setting("N", "CPU threads. Default: one per core.", min=1)

    def start(self) -> "torch.device":
        """Set the number of CPU threads and find the device, for a command that runs in one process.

        Raises:
            EngineError: it was started in several, or there is no such device.
        """
        from ...engine.errors import EngineError
        from ...engine.processes.distributed import launched

        if launched():
            raise EngineError("this command runs in one process; start it without torchrun")
        return take_part(self.device, self.threads)


@dataclass(frozen=True)
class Machines(Machine):
    """Device and threads of every process that shares the work, and what all of them draw numbers from."""

    nproc: int | None = setting("N", "Processes that share every batch, one per GPU. Default: 1.", min=1)
    seed: int = setting("N", "Same seed, same numbers.", default=0, min=0)

    def start_together(self, context: typer.Context) -> "torch.device":
        """As `start`, for a command that several processes can share; --nproc sees those through and leaves.

        Args:
            context: of the command; its object starts the same command line in that many processes.
        """
        from ...engine.processes.distributed import launched

        if self.nproc is not None and self.nproc > 1 and not launched():
            raise typer.Exit(context.obj(self.nproc))
        return take_part(self.device, self.threads)
