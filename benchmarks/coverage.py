"""How much of the world is pruned: every network of `coverage_networks`, to half its MACs, checked.

    python benchmarks/coverage.py [--only GLOB] [--tool ours|torch-pruning] [--longest SECONDS] [--out FOLDER]

Each network runs in a process of its own, on one core, random weights. Results are appended to
FOLDER/coverage.jsonl, networks that are in there are not run again, and FOLDER/COVERAGE.md is written anew.
"""

import argparse
import fnmatch
import json
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import coverage_one
import torch
from coverage_networks import cases

CONTEXT = multiprocessing.get_context("forkserver")
NEEDED = ["torch", "torchvision", "timm", "torch_pruning", "prune.engine.api", "coverage_one"]
HERE = Path(__file__).parent
TOO_LATE = "not done in"
TOLERANCE = 1e-6
HALF_AT_MOST = 0.5005  # of the MACs
TOOLS = ("ours", "torch-pruning")
NOT_AS_MASKED, TOO_SLOW = "not as masked", "too slow"
VERDICTS = ("right", "refused", "failed", NOT_AS_MASKED, TOO_SLOW)


def main() -> None:
    """Run what has not been run, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="*")
    parser.add_argument("--tool", choices=TOOLS, action="append")
    parser.add_argument("--longest", type=int, default=300, help="seconds of a clock for one network")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    CONTEXT.set_forkserver_preload(NEEDED)
    log = asked.out / "coverage.jsonl"
    done = {(row["tool"], row["name"]) for row in _rows(log)}
    for tool in asked.tool or TOOLS:
        for case in cases():
            if (tool, case.name) not in done and fnmatch.fnmatch(case.name, asked.only):
                row = _run(tool, case.name, asked.longest)
                print(json.dumps(row), flush=True)
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    (asked.out / "COVERAGE.md").write_text(_report(_rows(log)))


def _run(tool: str, name: str, longest: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        ended = _in_a_process(longest, coverage_one.prune_one, tool, name, folder)
        facts = Path(folder) / "facts.json"
        if not facts.exists():
            return {"tool": tool, "name": name, "failed": ended}
        row = json.loads(facts.read_text())
        if (Path(folder) / coverage_one.NARROW).exists():
            ended = _in_a_process(longest, coverage_one.load_one, name, folder)
            loads = Path(folder) / "loads.json"
            row |= json.loads(loads.read_text()) if loads.exists() else {"loads": False, "failed": ended}
    return row


def _in_a_process(longest: int, work: Callable[..., None], *args: str) -> str:
    """Do it in a new process, which has imported what all of them need, and nothing else."""
    process = CONTEXT.Process(target=work, args=args)
    process.start()
    process.join(longest)
    if process.is_alive():
        process.kill()
        process.join()
        return f"{TOO_LATE} {longest} s"
    return f"exit {process.exitcode}"


def _rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _report(rows: Sequence[dict[str, Any]]) -> str:
    ours = {row["name"]: row for row in rows if row["tool"] == "ours"}
    theirs = {row["name"]: row for row in rows if row["tool"] == "torch-pruning"}
    lines = [
        "# What is pruned",
        "",
        "Made by `make coverage`: every network with random weights, to half its MACs in the first residual",
        "mode that reaches it, on one core; checked in float64 against a masked copy of the full network,",
        "made from the two state dicts alone, without the engine (`benchmarks/coverage_check.py`).",
        f"{date.today()}, torch {torch.__version__}, {platform.machine()}, a shared two-core server.",
        "",
        "| | networks | half reached, right | half not reached | failed | not as masked | too slow |",
        "|---|---|---|---|---|---|---|",
        *(
            _summary(tool, found)
            for tool, found in (("ours", ours), ("Torch-Pruning 1.6.0", theirs))
            if found
        ),
        "",
        "Seconds are of processor time for tracing, choosing, cutting, proving; MB is the peak memory over",
        "the network itself. Loads: saved, and loaded by a fresh process with the same outputs. Trains: one",
        "step changes it. Not as masked: the narrow network computes something else than the full one with",
        "those channels zeroed, as where channels leave a LayerNorm, whose statistics change (ours does that",
        "when asked, by `--through-norms`). Too slow: not done in the time it was given (`--longest`).",
        "",
        "| network | mode | MACs left | s | MB | off masked | loads | trains | why not more | theirs |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row, theirs.get(name)) for name, row in sorted(ours.items())),
    ]
    return "\n".join(lines) + "\n"


def _verdict(row: dict[str, Any]) -> str:
    if row.get("left", 0) > HALF_AT_MOST:
        return "refused"
    if "difference" in row:
        return "right" if row["difference"] <= max(TOLERANCE, 10 * row.get("said", 0)) else NOT_AS_MASKED
    if "refused" in row:
        return "refused"
    return TOO_SLOW if row["failed"].startswith(TOO_LATE) else "failed"


def _summary(tool: str, rows: dict[str, dict[str, Any]]) -> str:
    verdicts = [_verdict(row) for row in rows.values()]
    counts = " | ".join(str(verdicts.count(what)) for what in VERDICTS)
    return f"| {tool} | {len(rows)} | {counts} |"


def _line(row: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    left = f"{row['left']:.1%}" if "left" in row else ""
    off = f"{row['difference']:.0e}" if "difference" in row else ""
    why = str(row.get("refused") or row.get("failed") or row.get("reason") or "").replace("|", "/")[:160]
    checks = [{True: "yes", False: "**no**"}.get(row.get(name), "") for name in ("loads", "trains")]
    other = ""
    if theirs is not None:
        error = theirs.get("failed", "").partition(":")[0]
        other = _verdict(theirs)
        other += f": {error}" if other == "failed" and error.isidentifier() else ""
        other += f" {theirs['left']:.0%}, {theirs.get('seconds')} s" if "left" in theirs else ""
    cells = [row["name"], row.get("mode", ""), left, row.get("seconds", ""), row.get("megabytes", ""), off]
    return "| " + " | ".join(map(str, [*cells, *checks, why, other])) + " |"


if __name__ == "__main__":
    main()
