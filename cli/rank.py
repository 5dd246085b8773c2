"""`prune rank`: score every filter of a network."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt
from . import units
from .grouped import grouped
from .options.group import option
from .widths_shown import check_criterion, show_widths, widths_of

COLUMNS = {
    "layer": str,
    "filters": units.count,
    "lowest": units.real,
    "mean": units.real,
    "highest": units.real,
}


@grouped
def command(
    context: typer.Context,
    file: opt.File = None,
    arch: opt.Arch = None,
    *,
    reach: opt.Reach,
    scoring: opt.Scoring,
    sensitivity: Annotated[
        bool,
        option("Scores", "--sensitivity", None, "Measure and show what every width of every layer costs."),
        opt.After("criterion"),
    ] = False,
    images: opt.Images,
    num_classes: opt.NumClasses = None,
    batch_size: opt.BatchSize = None,
    machines: opt.Machines,
    out: opt.OutFile = None,
    force: opt.Force = False,
    output: opt.Work,
) -> None:
    """Score every filter of a network.

    Small scores leave first. Without a file, the newest base run of --arch on the same images is taken, else
    seeded random weights. The default criterion is hrank: the mean rank of each filter's feature maps over
    --limit batches of training images. The scores are saved for `prune prune --scores`.

    --sensitivity measures what every width of every layer costs the network's answers (criterion
    obs-measured; --criterion obs estimates it, which takes no further passes), and shows it; such scores are
    losses, and go with `prune prune --scores FILE --ranking loss`.
    """
    show = output.show()
    from ..engine import criteria
    from ..engine.graph.trace import trace
    from ..engine.network.sources import RUNS
    from ..engine.processes import distributed
    from ..engine.runs.runs import check_runs, next_run_folder
    from ..engine.scores.score_file import save_scores
    from ..engine.scores.scoring import scoring_on
    from ..weights.files import check_distinct, check_output
    from .common import find, note_images

    criterion = scoring.criterion or ("obs-measured" if sensitivity else "hrank")
    if sensitivity:
        check_criterion(criterion)
    needs_images = criteria.get(criterion).NEEDS == "images"
    if out is not None:
        check_distinct([out], [file])
        check_output(out, force)
    else:
        check_runs(RUNS)
    wanted = images.images()
    where = machines.start_together(context)
    source = find(show, file, arch, wanted, num_classes=num_classes, reach=reach, seed=machines.seed)
    network = source.network
    network.model.to(where)
    data = wanted.open(network) if needs_images else None
    if data is not None:
        note_images(show, data)
    traced = trace(network.model, network.takes)
    work = scoring_on(
        data,
        criterion,
        network.model,
        traced,
        batch_size=batch_size or 128,
        limit=scoring.limit,
        seed=machines.seed,
    )
    scores = show.progress(work)
    if not distributed.is_first():
        return

    path = out or next_run_folder(RUNS, f"rank-{_plain(network.arch)}-{criterion}") / "scores.hdf5"
    meta = {
        "arch": network.arch,
        "criterion": criterion,
        "dataset": None if data is None else data.info.name,
        "weights": source.weights,
        "seed": machines.seed,
    }
    save_scores(path, scores, meta, force=force)
    shown = {}
    if sensitivity:
        show_widths(show, f"what widths of {network.arch} cost", traced.map, scores)
        shown = {"losses": widths_of(traced.map, scores)}
    else:
        rows = [[name, len(s), s.min().item(), s.mean().item(), s.max().item()] for name, s in scores.items()]
        show.table(f"{criterion} scores of {network.arch}", COLUMNS, rows)
    show.json(
        {
            "arch": network.arch,
            "criterion": criterion,
            "weights_source": source.weights,
            "path": path,
            "scores": {name: scores_F.tolist() for name, scores_F in scores.items()},
            **shown,
        }
    )
    show.saved(path)


def _plain(arch: str) -> str:
    return Path(arch.replace(":", "-")).name
