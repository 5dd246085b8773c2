"""One network of `make coverage`, pruned in a process of its own and loaded in another."""

import json
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from coverage_check import difference_to_masked, randomised
from coverage_networks import Case, build, cases
from torch import Tensor, nn
from torch.utils import _pytree as pytree

HALF = 0.5
MODES = ("internal", "coupled", "scatter")
NARROW, ANSWERS = "narrow.hdf5", "answers.pt"


def prune_one(tool: str, name: str, folder: str) -> None:
    """Prune a network to half its MACs, check it, and write down how it went."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case = next(case for case in cases() if case.name == name)
    model = randomised(build(case))
    facts: dict[str, Any] = {"tool": tool, "name": name, "params": sum(p.numel() for p in model.parameters())}
    _forget_peak()
    start, memory = time.process_time(), _memory()
    try:
        try:
            found, look = _ours(case, model, Path(folder)) if tool == "ours" else _theirs(case, model)
        finally:
            facts |= {"seconds": round(time.process_time() - start, 1)}
            facts |= {"megabytes": round((_peak() - memory) / 2**20)}
        facts |= found
        facts |= look()
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else ""
        facts |= {"failed": f"{type(error).__name__}: {said}"[:300]}
    (Path(folder) / "facts.json").write_text(json.dumps(facts))


def load_one(name: str, folder: str) -> None:
    """Load the narrow network in a process that has not seen it, and compare what it returns."""
    import prune

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case = next(case for case in cases() if case.name == name)
    theirs = answers(prune.load(Path(folder) / NARROW, case.arch).model, case)
    same = all(torch.equal(a, b) for a, b in zip(theirs, torch.load(Path(folder) / ANSWERS), strict=True))
    (Path(folder) / "loads.json").write_text(json.dumps({"loads": same}))


# What was found while pruning, whose seconds and memory count, and what is still to be looked at.
Pruned = tuple[dict[str, Any], Callable[[], dict[str, Any]]]


def _ours(case: Case, model: nn.Module, folder: Path) -> Pruned:
    import prune
    from prune.engine.errors import AllocationError
    from prune.engine.modules.inputs import Inputs

    images = len(case.args) == 1 and case.args[0].dim() > 3 and case.args[0].shape[1] == 3
    takes: dict[str, Any] = {"inputs": Inputs.like(case.args, case.kwargs)}
    takes = {"input_size": tuple(case.args[0].shape[1:])} if images else takes
    network = prune.wrap(model, **takes, part=case.part, arch=case.arch)
    outcome, mode, reason = None, "", ""
    for mode in MODES:
        try:
            outcome = prune.prune(network, prune.plan(network, flops=HALF, residual=mode))
            break
        except AllocationError as error:
            reason = str(error)
    if outcome is None:
        return {"refused": reason}, dict
    done = outcome
    found = {
        "mode": mode,
        "left": round(done.after.macs / done.before.macs, 4),
        "said": done.difference,
        "reason": next(iter(done.pinned.values()), ""),
    }

    def look() -> dict[str, Any]:
        narrow = done.network.model
        difference = difference_to_masked(network.model, narrow, case.args, case.kwargs)
        prune.save(folder / NARROW, done)
        torch.save(answers(narrow, case), folder / ANSWERS)
        return {"difference": difference, "trains": _trains(narrow, case)}

    return found, look


def _trains(model: nn.Module, case: Case) -> bool:
    """One step of training changes it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    made = pytree.tree_leaves(model.train()(*case.args, **case.kwargs))
    sum(t.square().mean() for t in made if isinstance(t, Tensor) and t.requires_grad).backward()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    model.eval()
    return any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@torch.no_grad()
def answers(model: nn.Module, case: Case) -> list[Tensor]:
    """What a network returns for the same numbers, always."""
    draws = torch.Generator().manual_seed(1)
    args, kwargs = pytree.tree_map_only(
        Tensor,
        lambda t: torch.randn(t.shape, generator=draws) if t.is_floating_point() else t,
        (case.args, case.kwargs),
    )
    torch.manual_seed(2)
    return [t for t in pytree.tree_leaves(model.eval()(*args, **kwargs)) if isinstance(t, Tensor)]


def _theirs(case: Case, model: nn.Module) -> Pruned:
    """As its README does it: L1 magnitudes, uniform, outputs ignored, in steps until half the MACs stay."""
    import torch_pruning as tp

    part = model.get_submodule(case.part) if case.part else model
    example = case.kwargs or case.args
    before_shapes, last = _ends(part, case)
    heads = {m.qkv: m.num_heads for m in part.modules() if hasattr(m, "qkv") and hasattr(m, "num_heads")}
    pruner = tp.pruner.MagnitudePruner(
        part,
        example,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.9,
        iterative_steps=30,
        ignored_layers=last,
        num_heads=heads,
        prune_num_heads=bool(heads),
    )
    base, _ = tp.utils.count_ops_and_params(part, example)
    macs = base
    for _ in range(30):
        pruner.step()
        macs, _ = tp.utils.count_ops_and_params(part, example)
        if macs <= HALF * base:
            break

    def look() -> dict[str, Any]:
        after_shapes, _ = _ends(part, case)
        if before_shapes != after_shapes:
            return {"failed": f"outputs have shapes {after_shapes} instead of {before_shapes}"[:200]}
        full = randomised(build(case))
        whole = full.get_submodule(case.part) if case.part else full
        return {"difference": difference_to_masked(whole, part, case.args, case.kwargs)}

    return {"left": round(macs / base, 4)}, look


@torch.no_grad()
def _ends(model: nn.Module, case: Case) -> tuple[list[tuple[int, ...]], list[nn.Module]]:
    """The shapes of what a network returns, and the layers that make it."""
    memory: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any, made: Any) -> None:
        if isinstance(made, Tensor):
            memory[module] = made.untyped_storage().data_ptr()

    layers = [m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    made = [t for t in pytree.tree_leaves(model(*case.args, **case.kwargs)) if isinstance(t, Tensor)]
    for hook in hooks:
        hook.remove()
    ends = {tensor.untyped_storage().data_ptr() for tensor in made}
    return [tuple(t.shape) for t in made], [m for m, held in memory.items() if held in ends] or layers[-1:]


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024
