"""`prune prune`: choose filters, remove them and write the narrow network, at once or in training."""

import typer

from .grouped import grouped
from .prune_asked import Asked, check_way
from .recipe_option import check_recipe


@grouped
def command(context: typer.Context, *, asked: Asked) -> None:
    """Choose filters, remove them and write the narrow network.

    Say how much leaves with one of --flops, --params, --rate, --layer-rate, --compress-rate, --keep-rate,
    --rate-norm/--rate-dist, --deps or --plan; without any, half of the MACs stay (--flops 0.5). Nothing is
    written unless the narrow network equals the masked one.

    With a budget (--flops, --params), images (--dataset, --data-dir, or a network that says what it was
    measured on) and nothing else, the network says what leaves it: on training images, without labels, it is
    measured what every width of every layer costs its answers (--criterion obs-measured --ranking loss), and
    what stays is solved again to make up for what left (--compensate). No training, a minute or two;
    --finetune trains after that. --max-drop finds the least budget that accuracy allows. --steps N reaches a
    budget little by little: each step leaves the same share of what the one before left.

    Else filters leave by --criterion (default: l1) or --scores, batch norms are re-estimated where there are
    images, and --compensate does more than that.

    --schedule layer-by-layer masks one layer, trains --epochs, and goes on to the next; soft and hard mask
    all layers anew every --prune-every epochs of one training. --method sketch replaces filters by a sketch
    of them (--keep-rate). --method resrep trains compactors that lose rows until --flops of the MACs stay,
    and folds them away; defaults are the authors': --flops 0.471, 480 epochs, batches of 64, learning rate
    0.01, weight decay 0.0001; for images above 64 pixels 0.455, 180 epochs, batches of 256. Whatever trains
    keeps a folder, and goes on with --resume FOLDER when interrupted.
    """
    if asked.folder.resume is None:
        check_way(context, asked)
        check_recipe(context, asked.file, asked.network.arch)
    from .prune_run import go_on, prune_at_once, prune_in_training  # and the engine, once slips are out

    if asked.folder.resume is not None:
        go_on(context, asked, asked.folder.resume)
    else:
        (prune_in_training if asked.trains else prune_at_once)(context, asked)
