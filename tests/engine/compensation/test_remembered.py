"""What was measured is not measured again, where the question is the same."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mending import images
from prune.engine.compensation import measuring, remembered
from prune.engine.compensation.sensitivity import Sensitivity
from prune.engine.events import GroupMeasured, Note
from prune.engine.graph.trace import trace
from prune.engine.selection.selection import prunable_groups
from torch import Tensor, nn

SIZE = (3, 12, 12)


class Three(nn.Sequential):
    """Three groups, one behind the other."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__(
            *(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
        )


class Asked:
    """One question, asked as often as one likes."""

    def __init__(self) -> None:
        self.model = Three().eval()
        self.images = images(32, SIZE)
        self.seed = 0

    def events(self, **changed: bool) -> Iterator[object]:
        traced = trace(self.model, SIZE)
        groups = prunable_groups(traced.map, "internal")
        work = (self.model, traced.map, groups, [self.images])
        self.found = yield from measuring.sensitivities(*work, seed=self.seed, **changed)

    def measured(self, **changed: bool) -> list[str]:
        """The groups that are measured, and not remembered."""
        return [event.group for event in self.events(**changed) if isinstance(event, GroupMeasured)]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    torch.set_num_threads(1)
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "cache"))
    return Asked()


def _file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache" / "sensitivities").iterdir()
    return path


def test_what_was_cut_short_goes_on_and_ends_the_same(asked, tmp_path, monkeypatch):
    events = asked.events()
    assert next(events) == GroupMeasured(1, 3, "0")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert asked.measured() == ["4"]  # one is measured before its event is yielded, and so was the second
    went_on = asked.found
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "another"))
    assert asked.measured() == ["0", "2", "4"]
    assert went_on == asked.found


def test_a_second_time_costs_no_pass_and_says_so(asked, monkeypatch):
    asked.measured()
    first = asked.found
    monkeypatch.setattr(measuring, "courses", None)
    monkeypatch.setattr(measuring, "_Measure", None)
    assert list(asked.events()) == [Note("what 3 of 3 groups cost on these images was found out before")]
    assert asked.found == first
    assert all(isinstance(one, Sensitivity) and one.measured for one in asked.found)


def test_another_question_is_answered_anew(asked):
    asked.measured()
    with torch.no_grad():
        asked.model[2].weight[0, 0, 0, 0] += 1e-3
    assert len(asked.measured()) == 3  # other weights
    asked.images = asked.images.clone()
    asked.images[0, 0, 0, 0] += 1e-3
    assert len(asked.measured()) == 3  # other images
    asked.seed = 1
    assert len(asked.measured()) == 3  # another seed
    asked.model = copy.deepcopy(asked.model)
    assert not asked.measured()  # the same network, in another place
    asked.model[3] = nn.GELU()
    assert len(asked.measured()) == 3  # other code
    assert [event for event in asked.events(measure=False) if isinstance(event, Note)] == []
    assert all(not one.measured for one in asked.found)


def test_channels_that_may_not_leave_make_another_group(asked):
    asked.measured()

    class Pinned(nn.Module):
        """As before, and one channel of the first layer is looked at from outside."""

        def __init__(self, inside: nn.Module) -> None:
            super().__init__()
            self.inside = inside

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            first = self.inside[0](x)  # type: ignore[index]
            rest = nn.Sequential(*list(self.inside)[1:])
            return rest(first), first[:, :1]

    asked.model = Pinned(asked.model).eval()
    assert "inside.0" in asked.measured()


@pytest.mark.parametrize("damage", ["cut", "bit", "nonsense"])
def test_a_damaged_line_is_measured_again(asked, tmp_path, damage):
    asked.measured()
    whole, path = asked.found, _file(tmp_path)
    data = path.read_bytes()
    second = data.index(b"\n", 1) + 2
    path.write_bytes(
        {
            "cut": data[:-20],
            "bit": data[: second + 40] + bytes([data[second + 40] ^ 1]) + data[second + 41 :],
            "nonsense": b"\xff\x00 {\n" + data[second:],
        }[damage]
    )
    assert len(asked.measured()) == 1
    assert asked.found == whole
    assert not asked.measured()


def test_where_nothing_can_be_kept_it_works_all_the_same(asked, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRUNE_CACHE", str(tmp_path / "file"))
    assert len(asked.measured()) == len(asked.measured()) == 3


def test_only_the_latest_questions_keep_their_answers(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "KEPT", 3)
    folder = tmp_path / "cache" / "sensitivities"
    seen = {}
    for asked.seed in range(3):
        asked.measured()
        seen[asked.seed] = next(path for path in folder.iterdir() if path not in seen.values())
        os.utime(seen[asked.seed], (asked.seed, asked.seed))
    asked.seed = 0
    assert asked.measured() == []  # remembered, and so asked for later than the others
    asked.seed = 3
    asked.measured()
    assert len(list(folder.iterdir())) == 3
    assert seen[0].exists()
    assert not seen[1].exists()
