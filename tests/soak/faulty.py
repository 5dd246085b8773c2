"""Runs a command in which something goes wrong: `python faulty.py FAULT WORDS...` (see `faults`)."""

import json
import os
import signal
import sys
import warnings

# A process that is no command yet just ends.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import faults  # noqa: E402
import torch  # noqa: E402
from prune.cli.main import main  # noqa: E402

torch.set_num_threads(1)
warnings.simplefilter("error")
warnings.simplefilter("ignore", ResourceWarning)  # of a file whose opening a signal interrupted
code = 70
try:
    with faults.injected(os.getcwd(), **json.loads(sys.argv[1])):
        print("begun", flush=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main(sys.argv[2:])
    sys.stdout.flush()
finally:
    sys.stderr.flush()
    os._exit(code)
