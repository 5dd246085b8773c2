"""What the processes of `test_distributed.py` do, alone or as one of two, and what they keep."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from prune.cli.processes import end
from prune.engine.compactors.sites import insert, targets
from prune.engine.data.base import DataInfo
from prune.engine.data.memory import MemoryData
from prune.engine.errors import TrainingError
from prune.engine.events import EpochDone, Event, MasksSet
from prune.engine.graph.cost import Counter
from prune.engine.graph.trace import trace
from prune.engine.masking.resetting import ResettingGradients
from prune.engine.masking.rule import MaskRule
from prune.engine.measure.evaluation import evaluate
from prune.engine.measure.recalibrate import recalibrate
from prune.engine.processes import distributed
from prune.engine.processes.synchronised_norm import synchronised_norms
from prune.engine.runs.runs import Run
from prune.engine.schedules.gradient_resetting import GradientResetting
from prune.engine.training.hooks import Hooks
from prune.engine.training.loop import TrainConfig, train
from torch import Tensor, nn

BATCH = 32


class Net(nn.Module):
    """Two batch norms, and a layer that no gradient reaches."""

    def __init__(self, frozen_norms: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16, momentum=0.3)
        self.aside, self.linear = nn.Linear(2, 2), nn.Linear(16 * 4 * 4, 10)
        self.frozen_norms = frozen_norms

    def train(self, mode: bool = True) -> "Net":
        super().train(mode)
        if self.frozen_norms:
            self.bn1.eval()
            self.bn2.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.linear(self.bn2(self.conv2(x)).relu().flatten(1))


def noise() -> MemoryData:
    generator = torch.Generator().manual_seed(7)
    counts = {"train": 4 * BATCH, "test": 37}
    images = {
        split: torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
        for split, count in counts.items()
    }
    labels = {split: torch.arange(count) % 10 for split, count in counts.items()}
    info = DataInfo("noise", 10, tuple("0123456789"), (3, 8, 8), mean=(0.4,) * 3, std=(0.25,) * 3)
    return MemoryData(info, images, labels, crop_padding=1, flip=True)


class Recording(Hooks):
    """Keeps the gradients of every step, as hooks find them."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.gradients = model, []

    def after_backward(self, step: int) -> None:
        grads = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.gradients.append(torch.cat(grads).clone())


class RecordingMasks(ResettingGradients):
    """ResRep's hooks; keeps masks and weights as they are after every step."""

    def __init__(self, model: nn.Module, *args: Any) -> None:
        super().__init__(*args)
        self.model, self.course = model, []

    def after_step(self, step: int) -> MasksSet | None:
        news = super().after_step(step)
        masks = [compactor.mask for compactor in self._compactors]
        weights = [parameter.detach().flatten() for parameter in self.model.parameters()]
        self.course.append(torch.cat([*masks, *weights]))
        return news


class GoingAstray(Hooks):
    """Changes one weight, in the last process alone."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def after_epoch(self, epoch: int) -> None:
        if epoch == 2 and distributed.number() == distributed.processes() - 1:
            self.model.conv2.weight.data[0, 0, 0, 0] += 1e-6


def training(
    folder: Path, model: nn.Module, hooks: Hooks, *, resume: bool = False, **more: Any
) -> Iterator[Event]:
    config = TrainConfig(
        epochs=3, lr=0.05, batch_size=BATCH, eval_batch_size=10, precision="fp32", channels_last=False, **more
    )
    made = distributed.from_first(lambda: resume or bool(Run.create(folder, {"command": "train-base"})))
    assert made
    return train(model, noise(), config, Run(folder, {}), keep_nothing, hooks=hooks, resume=resume)


def keep_nothing(path: Path, model: nn.Module, accuracy: Any) -> None:
    pass


def course(folder: Path, *, frozen_norms: bool = False, **more: Any) -> dict[str, Any]:
    """Train, and keep the losses, the gradients of every step and the final state."""
    model = Net(frozen_norms)
    hooks = Recording(model)
    epochs = [e for e in training(folder, model, hooks, **more) if isinstance(e, EpochDone)]
    return {
        "losses": [(epoch.train_loss, epoch.train_top1, epoch.test.loss) for epoch in epochs],
        "tested": epochs[-1].test.images,
        "gradients": torch.stack(hooks.gradients),
        "state": model.state_dict(),
        "log": (folder / "log.jsonl").read_text().count("\n"),
    }


def resumed(folder: Path) -> dict[str, Tensor]:
    """The final state of a training that was broken off after its first epoch."""
    events = training(folder, Net(), Hooks())
    next(event for event in events if isinstance(event, EpochDone))
    events.close()
    model = Net()
    nn.init.zeros_(model.linear.weight)
    list(training(folder, model, Hooks(), resume=True))
    return model.state_dict()


def compacted(folder: Path) -> Tensor:
    """Train with compactors that lose rows from the first step on; masks and weights after every step."""
    model = Net(frozen_norms=True)
    traced = trace(model, (3, 8, 8))
    sites = insert(model, targets(model, traced))
    counter = Counter(traced.map)
    rule = MaskRule([site.row_ids for site in sites], lambda ids: counter.totals(ids)[0], target=0.5)
    schedule = GradientResetting(lasso=1e-2, mask_after=0, mask_interval=2, granularity=2)
    hooks = RecordingMasks(model, [site.compactor for site in sites], rule, schedule, 4)
    list(training(folder, model, hooks, decay_rule="resrep"))
    return torch.stack(hooks.course)


def normalised() -> dict[str, Tensor]:
    """One synchronised batch norm, forwards and backwards, on this process's share of eight images."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    nn.init.normal_(norm.weight)
    all_images = 3 + 2 * torch.randn(8, 5, 4, 4)
    images = all_images[distributed.number() :: distributed.processes()].requires_grad_()
    with synchronised_norms():
        out = norm(images)
    (out * images.detach().cos()).sum().backward()
    assert images.grad is not None
    assert norm.weight.grad is not None
    return {
        "out": out.detach(),
        "gradient": images.grad,
        "weight gradient": distributed.add_up(norm.weight.grad),
        "running mean": norm.running_mean,
        "running variance": norm.running_var,
    }


def recalibrated() -> dict[str, Tensor]:
    model = Net()
    recalibrate(model, noise().batches("train", distributed.share_of(BATCH), shard=distributed.shard()))
    return model.state_dict()


def everything(folder: Path) -> dict[str, Any]:
    accuracy = evaluate(Net(), noise(), batch_size=10)
    return {
        "normalised": normalised(),
        "recalibrated": recalibrated(),
        "evaluated": (accuracy.images, accuracy.top1, accuracy.top5, accuracy.loss),
        "synchronised": course(folder / "synchronised", sync_bn=True),
        "frozen": course(folder / "frozen", frozen_norms=True),
        "each its own": course(folder / "each"),
        "resumed": resumed(folder / "resumed"),
        "compacted": compacted(folder / "compacted"),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    distributed.join("cpu")
    found = everything(folder)
    if distributed.processes() > 1:
        model = Net()
        try:
            list(training(folder / "astray", model, GoingAstray(model)))
        except TrainingError as error:
            found["astray"] = str(error)
    torch.save(found, folder / f"process {distributed.number()}.pt")
    distributed.leave()
    end(0)
