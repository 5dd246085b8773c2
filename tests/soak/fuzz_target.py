"""What atheris runs: a file's bytes through one of our readers, changed wherever that reaches new branches.

`python fuzz_target.py NAME CORPUS [libFuzzer's options]`, with a name of `readers` or a weight file's; it
ends with another code than 0 where a reader raises anything but an error of ours, of one line, hangs, or
takes too much memory.
"""

import random
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

WEIGHTS = ("x.hdf5", "x.pth", "x.safetensors")
Read = Callable[[Path], object]
Damage = Callable[[bytes, random.Random], bytes]


def reader(name: str) -> tuple[Read, tuple[type[Exception], ...], Damage | None]:
    """How such a file is read, what that may raise, and how it is damaged if not by its bytes."""
    with atheris.instrument_imports(include=["prune", "PIL"]):
        if name in WEIGHTS:
            from prune.weights.errors import WeightsError
            from prune.weights.formats import read_any

            return read_any, (WeightsError,), None
        from soak.readers import READERS, REFUSALS, mutant

        found = next(reader for reader in READERS if reader.name == name)
        return found.read, REFUSALS, None if found.damage is mutant else found.damage


def main() -> None:
    """Until the time is over that libFuzzer is given."""
    name = sys.argv.pop(1)
    read, refusals, damage = reader(name)
    warnings.simplefilter("ignore")  # Pillow and NumPy warn of what they then refuse
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "run" / name
        path.parent.mkdir()
        (path.parent / "best.hdf5").touch()  # beside a report
        if name == "report.json":
            (path.parent / "config.json").write_text('{"command": "train-base", "arch": "a", "dataset": "d"}')

        def once(content: bytes) -> None:
            path.write_bytes(content)
            try:
                read(path)
            except refusals as error:
                if len(str(error).splitlines()) > 1:
                    raise AssertionError("more than a line") from error

        def change(content: bytes, most: int, seed: int) -> bytes:
            """By what it says where that is JSON, else or now and then by its bytes."""
            if damage is None or seed % 4 == 0:
                return atheris.Mutate(content, most)
            try:
                return damage(content, random.Random(seed))[:most]
            except (ValueError, RecursionError, IndexError):  # it is no JSON any more, or an empty one
                return atheris.Mutate(content, most)

        for sound in Path(sys.argv[1]).iterdir():  # what a reader imports late counts for no file's time
            once(sound.read_bytes())
        atheris.Setup(sys.argv, once, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
