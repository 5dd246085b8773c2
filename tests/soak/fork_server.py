"""Runs command lines in forked processes, one at a time: torch is imported once, so a run takes a moment.

A request is a line of JSON on stdin: `words`, `folder` and `fault` (see `faults`). The answers are the
process id at once, and the exit status at the end; what the command says is in `out` and `err` of its folder.
"""

import importlib
import json
import os
import signal
import sys
import warnings

import faults
import torch
import torch.export
from prune.cli.main import main


def serve() -> None:
    """Answer until stdin is closed."""
    # Imports what every command needs; no backward pass, after which no child could have one.
    for module in ("jobs.prepare", "jobs.run", "jobs.gentle", "conversion", "scores.score_file"):
        importlib.import_module(f"prune.engine.{module}")
    main(["rank", "--arch", "resnet20", "--criterion", "l1", "--json", "--out", sys.argv[1]])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a child that is no command yet just ends
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request["words"], request["folder"], request["fault"])
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


def _child(words: list[str], folder: str, fault: dict) -> None:
    """Never returns."""
    os.chdir(folder)
    os.environ["PRUNE_CACHE"] = os.path.join(folder, "cache")
    sys.path.insert(0, folder)  # where a user's own networks are
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)  # of a file whose opening a signal interrupted
    code = 70
    try:
        with faults.injected(folder, **fault):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = main(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
