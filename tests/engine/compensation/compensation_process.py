"""What the processes of `test_processes.py` do, alone or as one of two: cut, mend, measure."""

import copy
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from mending import images, share_of_channels  # noqa: E402
from prune.cli.processes import end  # noqa: E402
from prune.engine.compensation.block_fitting import fit_blocks  # noqa: E402
from prune.engine.compensation.compensate import compensate  # noqa: E402
from prune.engine.compensation.measuring import sensitivities  # noqa: E402
from prune.engine.events import unwatched  # noqa: E402
from prune.engine.graph.trace import trace  # noqa: E402
from prune.engine.narrowing.narrowing import narrow_proven  # noqa: E402
from prune.engine.processes import distributed  # noqa: E402
from prune.engine.selection.selection import prunable_groups  # noqa: E402
from test_residual import SIZE, Residual  # noqa: E402

if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.join("cpu")
    model = Residual().eval()
    traced = trace(model, SIZE)
    mine = images(128, SIZE)[distributed.number() :: distributed.processes()]
    cut = narrow_proven(model, traced, SIZE, share_of_channels(0.5))
    report = unwatched(compensate(model, cut.model, cut.map, cut.removed, [mine]))
    solved = copy.deepcopy(cut.model.state_dict())
    unwatched(fit_blocks(model, cut.model, cut.map, cut.removed, [mine], steps=3))
    groups = prunable_groups(traced.map, "internal")
    found = unwatched(sensitivities(model, traced.map, groups, [mine]))
    kept = {
        "state": solved,
        "fitted": cut.model.state_dict(),
        "images": report.images,
        "errors": [(one.before, one.after) for one in report.layers],
        "orders": [one.order for one in found],
        "losses": torch.cat([torch.from_numpy(one.losses()) for one in found]),
    }
    torch.save(kept, Path(sys.argv[1]) / f"process {distributed.number()}.pt")
    distributed.leave()
    end(0)
