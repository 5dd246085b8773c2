"""What ResRep adds to a training step: the same network, its compactors trained by plain SGD or by its rule.

Prints one line per network: milliseconds per step of either kind, measured in turns, and their ratio. A mask
decision, which comes once in 200 steps, is timed by itself and shared out among them.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from prune.engine.compactors.sites import insert, targets
from prune.engine.devices import resolve_device, synchronize
from prune.engine.graph.cost import Counter
from prune.engine.graph.trace import trace
from prune.engine.masking.resetting import ResettingGradients
from prune.engine.masking.rule import MaskRule
from prune.engine.network.fresh import new_network
from prune.engine.schedules.gradient_resetting import GradientResetting
from prune.engine.training.optimizer import build_sgd, set_rate

ROUNDS = 15
WARM_UP = 3
CASES = {"src56": 64, "resnet50": 64}  # arch -> batch size on a GPU
CPU_CASES = {"src56": 64}
ALLOWED = 1.15


def seconds(device: torch.device, work: Callable[[], None]) -> float:
    """Wall time of one piece of work, the device's own included."""
    synchronize(device)
    begin = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begin


def measure(arch: str, batch_size: int, device: torch.device) -> tuple[float, float, float]:
    """Median seconds of a plain step, of ResRep's, and of a mask decision."""
    network = new_network(arch)
    traced = trace(network.model, network.input_size)
    sites = insert(network.model, targets(network.model, traced))
    counter = Counter(traced.map)
    rule = MaskRule([site.row_ids for site in sites], lambda ids: counter.totals(ids)[0], target=0.471)
    schedule = GradientResetting(mask_after=0, mask_interval=1)
    model = network.model.to(device).train()
    hooks = ResettingGradients([site.compactor for site in sites], rule, schedule, steps_per_epoch=1)
    images_NCHW = torch.randn(batch_size, *network.input_size, device=device)
    labels_N = torch.randint(network.num_classes, (batch_size,), device=device)
    optimizers = {
        rule_name: build_sgd(model, rule=rule_name, momentum=0.9, weight_decay=1e-4)
        for rule_name in ("all", "resrep")
    }

    def step(rule_name: str) -> None:
        optimizer = optimizers[rule_name]
        set_rate(optimizer, 1e-4)
        loss = F.cross_entropy(model(images_NCHW), labels_N)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if rule_name == "resrep":
            hooks.after_backward(0)
        optimizer.step()

    timings: dict[str, list[float]] = {"all": [], "resrep": [], "masks": []}
    for number in range(WARM_UP + ROUNDS):
        order = ("all", "resrep") if number % 2 else ("resrep", "all")  # whoever goes first may pay for it
        taken = {name: seconds(device, lambda name=name: step(name)) for name in order}
        taken["masks"] = seconds(device, lambda: hooks.after_step(0) and None)
        if number >= WARM_UP:
            for name, value in taken.items():
                timings[name].append(value)
    return tuple(statistics.median(timings[name]) for name in ("all", "resrep", "masks"))


def main() -> None:
    """Measure on whatever machine this is."""
    device = resolve_device("auto")
    print(f"ResRep's step on {device}, {torch.get_num_threads()} threads; allowed: {ALLOWED:.2f}x plain SGD")
    for arch, batch_size in (CASES if device.type == "cuda" else CPU_CASES).items():
        plain, resrep, masks = measure(arch, batch_size, device)
        whole = resrep + masks / GradientResetting.mask_interval
        print(
            f"{arch:10} batch {batch_size}: plain {1e3 * plain:.1f} ms, ResRep {1e3 * resrep:.1f} ms, "
            f"a mask decision {1e3 * masks:.1f} ms: {whole / plain:.3f}x"
        )


if __name__ == "__main__":
    main()
