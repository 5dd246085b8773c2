"""Accuracy against processor time: a network brought to half its MACs, by six methods, one after the other.

    python benchmarks/courses.py base.hdf5 IMAGES [--epochs 2] [--out FOLDER]

Each method starts from the same trained network and takes one thread. Whole commands are timed, with the
decoding of images and all tests. FOLDER gets the logs, courses.json and, where matplotlib is installed, a
plot; methods that are in courses.json are not run again.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

TEACHER = ["--distill", "{base}", "--lr", "0.01"]  # as `finetune` begins with a compensated network
METHODS: dict[str, list[list[str]]] = {
    "prune --flops 0.5": [
        ["prune", "{base}", "--flops", "0.5", "--calibration", "1024", "--fit-blocks", "150"],
        ["finetune", "{narrow}"],
    ],
    **{
        criterion: [
            ["prune", "{base}", "--criterion", criterion.lower(), "--flops", "0.5"],
            ["finetune", "{narrow}", *TEACHER],
        ]
        for criterion in ("L1", "FPGM", "HRank")
    },
    "FilterSketch": [
        ["prune", "{base}", "--method", "sketch", "--keep-rate", "{keep_rate}"],
        ["finetune", "{narrow}", *TEACHER],
    ],
    "ResRep": [
        [
            *["prune", "{base}", "--method", "resrep", "--flops", "0.5", "--lr", "0.01"],
            *["--lasso", "{lasso}"],
            *["--mask-after", "0", "--mask-interval", "20", "--granularity", "{granularity}"],
        ]
    ],
}
EPOCH = re.compile(r"^epoch +(\d+)/\d+ .* test +([\d.]+)%")
AFTER = re.compile(r"^(?:pruned|sketched|BN re-estimated|compensated|folded) .* ([\d.]+)%$")

Point = tuple[float, float, str]  # processor minutes, top-1 in percent, what was done last


def main() -> None:
    """Run what has not been run, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--keep-rate", default="[0.5]*27", help="what FilterSketch keeps, one rate per block")
    parser.add_argument(
        "--granularity", default="48", help="rows that ResRep masks every 20 steps; ResNet-20: 16"
    )
    parser.add_argument("--lasso", default="0.005", help="ResRep's; ResNet-20 in three epochs: 0.002")
    parser.add_argument("--out", type=Path, default=Path("courses"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "courses.json"
    courses: dict[str, list[Point]] = json.loads(kept.read_text()) if kept.exists() else {}
    for name, commands in METHODS.items():
        if name not in courses:
            courses[name] = list(_course(name, commands, asked))
            kept.write_text(json.dumps(courses, indent=1))
        print(
            name, *(f"{top1:.2f}% after {minutes:.1f} min" for minutes, top1, _ in courses[name]), sep="\n  "
        )
    draw(courses, asked.out / "courses.png")


def _course(name: str, commands: Sequence[Sequence[str]], asked: argparse.Namespace) -> Iterator[Point]:
    """Run the commands of a method, and say what was reached when."""
    folder = asked.out / name.replace(" ", "_").replace("-", "")
    narrow = folder / "narrow.hdf5"
    before = minutes = 0.0
    for number, words in enumerate(commands):
        trains = words[0] == "finetune" or "resrep" in words
        out = folder / "run" if trains else narrow
        filled = [word.format(**vars(asked), narrow=narrow) for word in words]
        also = ["--epochs", asked.epochs] if trains else []
        command = [
            *filled,
            *also,
            "--data-dir",
            str(asked.images),
            "--threads",
            "1",
            "--out",
            str(out),
            "--force",
        ]
        folder.mkdir(exist_ok=True)
        with (folder / f"{number}.log").open("w") as log:
            for minutes, line in _lines(command):
                log.write(f"{minutes:.2f} {line}\n")
                if found := EPOCH.match(line):
                    yield before + minutes, float(found[2]), f"epoch {found[1]}"
                elif found := AFTER.match(line):
                    yield before + minutes, float(found[1]), line.split()[0]
        before += minutes


def _lines(command: Sequence[str]) -> Iterator[tuple[float, str]]:
    """What a command says, and its processor time in minutes when it said so; the last line is its end."""
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    given = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "prune", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | given,
    )
    assert running.stdout is not None
    for line in running.stdout:
        yield _minutes_of(running.pid), line.rstrip()
    if running.wait():
        raise SystemExit(f"failed: prune {' '.join(command)}")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
    yield took / 60, "end"


def _minutes_of(process: int) -> float:
    """User and system time, up to now."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") / 60


def draw(courses: dict[str, list[Point]], path: Path) -> None:
    """One line per method: top-1 over processor minutes."""
    try:
        from matplotlib import pyplot  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("no plot: pip install matplotlib")
        return
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, points in courses.items():
        ours = name.startswith("prune")
        minutes, top1 = [point[0] for point in points], [point[1] for point in points]
        axes.plot(minutes, top1, marker="o", markersize=4, label=name, linewidth=2.4 if ours else 1.2)
    axes.set(xlabel="processor minutes, whole commands", ylabel="top-1, %", ylim=(70, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
