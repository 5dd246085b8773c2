"""What `prune prune` shows of its results, whatever the method."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..engine.jobs.job import Pruning
from ..engine.jobs.prepare import Prepared
from ..engine.narrowing.outcome import Outcome
from . import units
from .costs import SUMMARY_COLUMNS, cost_cells, cost_facts, note_ignored, show_groups, units_of
from .show import Out

# Stage -> what a table calls it, in the order in which they come about.
FULL_STAGES = {"live": "masked, BN live", "masked": "masked", "trained": "trained, with compactors"}
THIN_STAGES = {
    "pruned": "pruned",
    "compensated": "compensated",
    "recalibrated": "BN re-estimated",
    "narrow": "narrow",
    "folded": "folded",
}


def say_aim(show: Out, ready: Prepared) -> None:
    """Say what a training works towards, where that is a number."""
    schedule = ready.schedule
    if schedule is not None and schedule.aim:
        show.note(
            f"{schedule.aim['compactors']} compactors, --residual {schedule.chooser.wanted.residual}; "
            f"{units.large(schedule.aim['target'])} of {units.large(schedule.chooser.before.macs)} MACs are "
            "to stay"
        )


def show_outcome(show: Out, pruning: Pruning, outcome: Outcome) -> None:
    """The facts as tables."""
    method, difference = pruning.method, f"{outcome.difference:.1e} (relative, float64)"
    how, stages = f"residual {outcome.residual}", THIN_STAGES
    if method == "sketch":
        how, stages = f"sketched as {asdict(pruning.transfer)['procedure']}", {**stages, "pruned": "sketched"}
    if outcome.counts:
        title = f"{outcome.network.arch}, {how}"
        show_groups(show, title, outcome.counts, units_of(outcome.map), _members(outcome))
    for line in outcome.shortfalls:
        show.warning(line)
    note_ignored(show, outcome.ignored)
    _note_pinned(show, method, outcome.pinned)
    _show_stages(show, outcome, stages)
    if method == "select" and outcome.residual == "internal" and any(g.stream for g in outcome.map.groups):
        show.footnote(
            "internal: channels that are added into a residual stream, which later layers read from, all "
            "stay; `residual` coupled or scatter takes some of them too"
        )
    if method == "resrep":
        _show_folding(show, outcome)
    elif method == "sketch":
        show.note(f"proven: read back from a file, it differs by {difference}")
    else:
        when = ", before its weights were compensated" if "compensated" in outcome.accuracies else ""
        show.note(f"proven: narrow equals masked within {difference}{when}")
    if method == "select" and pruning.schedule.trains:
        change = _change(outcome, "masked", "narrow")
        if change:
            show.warning(
                f"the accuracy changed by {units.points(change)} points: where two logits are equal but for "
                "rounding"
            )
        show.note(f"train it further with `prune finetune {outcome.path}`")


def _change(outcome: Outcome, before: str, after: str) -> float:
    """By how many points the accuracy changed from one stage to another."""
    return outcome.accuracies[after].top1 - outcome.accuracies[before].top1


def _members(outcome: Outcome) -> dict[str, dict[str, tuple[int, int]]]:
    """Per group whose channels several convolutions make, how many filters of each stay, and there were."""
    return {
        group.name: {
            name: (len(outcome.kept[name]), len(outcome.map.layer(name).out_ids))
            for name in group.producers
            if name in outcome.kept  # units of linear layers that may not leave are told nowhere
        }
        for group in outcome.map.groups
        if group.name in outcome.counts and len(group.producers) > 1
    }


def facts_of(pruning: Pruning, outcome: Outcome, path: Path | None) -> dict[str, Any]:
    """The facts for machines."""
    sketched = {}
    if pruning.method == "sketch":
        sketched = {"sketched": list(outcome.counts), **asdict(pruning.transfer)}
    steps = [
        {"macs": step.after.macs, "params": step.after.params, "accuracy": step.network.accuracy}
        for step in outcome.steps
    ]
    return {
        **cost_facts(outcome.network.arch, outcome.after, outcome.before),
        "path": path,
        "kept": outcome.kept,
        **sketched,
        "residual": outcome.residual,
        "pinned": outcome.pinned,
        "ignored": outcome.ignored,
        "difference": outcome.difference,
        **outcome.facts,
        "accuracy": outcome.accuracies,
        **({"steps": steps} if steps else {}),
    }


def _show_stages(show: Out, outcome: Outcome, thin_stages: Mapping[str, str]) -> None:
    """The network before and after: a line for each stage at which it was measured."""
    before, after = outcome.before, outcome.after
    tops = {stage: accuracy.top1 for stage, accuracy in outcome.accuracies.items()}
    rows = [["before", before.macs, None, before.params, None, tops.get("before")]]
    rows += [
        [words, None, None, None, None, tops[stage]] for stage, words in FULL_STAGES.items() if stage in tops
    ]
    for number, step in enumerate(outcome.steps[:-1], 1):
        words = f"step {number} of {len(outcome.steps)}"
        if step.network.history[-1].get("command") == "finetune":
            words += ", trained"
        top1 = (step.network.accuracy or {}).get("top1")
        rows.append([words, *cost_cells(before, step.after), top1])
    measured = [stage for stage in thin_stages if stage in tops] or ["pruned"]
    rows += [[thin_stages[stage], *cost_cells(before, after), tops.get(stage)] for stage in measured]
    show.table("", SUMMARY_COLUMNS, rows)


def _note_pinned(show: Out, method: str, pinned: Mapping[str, str]) -> None:
    """Say which layers could lose nothing, and why; of compactors, the reasons are many and known before."""
    if method == "select" and pinned:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in pinned.items())
        show.note(f"pinned, which cannot leave: {reasons}")
    elif method == "sketch":
        names_of: dict[str, list[str]] = {}
        for name, reason in pinned.items():
            names_of.setdefault(reason, []).append(name)
        for reason, names in names_of.items():
            show.note(f"not sketched, {reason}: {', '.join(names)}")


def _show_folding(show: Out, outcome: Outcome) -> None:
    """What became of compactors: rows that linger, a target that was missed, what dropping rows cost."""
    from ..engine.compactors.folding import THRESHOLD

    facts, after, change = outcome.facts, outcome.after, _change(outcome, "trained", "folded")
    for line in outcome.notes:
        show.note(line)
    if facts["lingering_rows"]:
        show.warning(
            f"{units.count(facts['lingering_rows'])} masked rows are still longer than {THRESHOLD:g} and "
            f"stay: the folded network has {units.large(after.macs)} MACs, the masks would leave "
            f"{units.large(facts['masked'])}; train longer, or with a stronger --lasso"
        )
    if after.macs > facts["target"]:
        show.warning(
            f"the target of {units.large(facts['target'])} MACs is missed: the folded network has "
            f"{units.large(after.macs)}"
        )
    if change:
        show.warning(
            f"folding changed the accuracy by {units.points(change)} points: rows were dropped that are "
            f"short but not zero (logits move by {facts['cost_of_dropping']:.1e})"
        )
    show.note(
        f"proven: folded equals trained within {outcome.difference:.1e} (relative); that dropped rows were "
        f"not quite zero costs {facts['cost_of_dropping']:.1e}"
    )
