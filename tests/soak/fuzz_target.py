"""What atheris runs: a weight file's bytes through our readers, changed wherever that reaches new branches.

`python fuzz_target.py SUFFIX CORPUS [libFuzzer's options]`; it ends with another code than 0 where a reader
raises anything but a `WeightsError`, hangs, or takes too much memory.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["prune.weights"]):
    from prune.weights.errors import WeightsError
    from prune.weights.formats import read_any


def main() -> None:
    """Until the time is over that libFuzzer is given."""
    suffix = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / f"x{suffix}"

        def once(content: bytes) -> None:
            path.write_bytes(content)
            try:
                read_any(path)
            except WeightsError as error:
                if len(str(error).splitlines()) > 1:
                    raise AssertionError("more than a line") from error

        atheris.Setup(sys.argv, once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
