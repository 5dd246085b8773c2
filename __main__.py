"""`python -m prune` is the command `prune`; torchrun starts it so."""

from .cli.main import main
from .cli.processes import end

end(main())
