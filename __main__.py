"""`python -m prune` is the command `prune`."""

import sys

from .cli.main import main

sys.exit(main())
