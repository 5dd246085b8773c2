import json
import time

import pytest
import torch
from prune.archs import registry
from prune.engine.errors import AllocationError
from prune.engine.graph.trace import trace
from prune.engine.selection import plan
from prune.engine.selection.selection import by_group_rates, prunable_groups
from prune.weights.errors import OutputExists, UnreadableFile

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network():
    return trace(registry.get("resnet20").build(10).eval(), (3, 32, 32)).map


@pytest.fixture(scope="module")
def removed(network):
    scores = {layer.name: torch.rand(len(layer.out_ids)) for layer in network.layers}
    groups = prunable_groups(network, "coupled")
    return by_group_rates(network, groups, scores, [0.4] * len(groups)).removed


@pytest.fixture
def written(network, removed, tmp_path):
    path = tmp_path / "plan.json"
    plan.write(path, plan.plan_of(network, removed, arch="resnet20", residual="coupled"))
    return path


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))
    return path


def test_round_trip(network, removed, written):
    read = plan.read(written)
    assert read == plan.plan_of(network, removed, arch="resnet20", residual="coupled")
    assert removed
    assert plan.apply(read, network) == removed


def test_a_plan_reads_well_and_groups_left_out_stay_whole(network, written):
    lines = written.read_text().splitlines()
    assert lines[:3] == ["{", '  "format": 1,', '  "arch": "resnet20",']
    assert len(lines) == 7 + len(prunable_groups(network, "coupled"))
    edit(written, groups={"stage1.block0.conv1.conv": [3, 1]})
    (group,) = [group for group in network.groups if group.name == "stage1.block0.conv1.conv"]
    assert plan.apply(plan.read(written), network) == set(group.channels.tolist()) - set(
        group.channels[[1, 3]].tolist()
    )


def test_an_existing_file_is_kept_unless_forced(network, written):
    other = plan.Plan("resnet20", "internal", {})
    with pytest.raises(OutputExists):
        plan.write(written, other)
    plan.write(written, other, force=True)
    assert plan.read(written) == other
    with pytest.raises(UnreadableFile):
        plan.read(written.with_name("missing.json"))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"stage1.block0.conv1": [0]}, "did you mean 'stage1.block0.conv1.conv'"),
        ({"stage1.block0.conv1.conv": [0, 16]}, "keeps channel 16 .* channels 0 to 15"),
        ({"stage1.block0.conv1.conv": [-1]}, "keeps channel -1"),
        ({"stage1.block0.conv1.conv": [3, 3]}, "keeps channel 3 twice"),
        ({"stage1.block0.conv1.conv": []}, "keeps no channel"),
        ({"stage1.block0.conv1.conv": "all"}, "must be a list"),
        ({"stage1.block0.conv1.conv": [0.5]}, "must be a list"),
        ({"stage1.block0.conv1.conv": [True]}, "must be a list"),
        ({"linear": [0, 1]}, "removes channel 2 of 'linear', which must stay: network output"),
    ],
)
def test_groups_that_do_not_fit_are_refused(network, written, groups, message):
    edit(written, groups=groups)
    with pytest.raises(AllocationError, match=message):
        plan.apply(plan.read(written), network)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"format": True}, "'format'"),
        ({"arch": 3}, "'arch'"),
        ({"groups": []}, "'groups'"),
        ({"extra": 1}, "exactly the keys"),
    ],
)
def test_odd_contents_are_refused(written, changes, message):
    edit(written, **changes)
    with pytest.raises(AllocationError, match=message):
        plan.read(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "exactly the keys"),
        ('{"format": 1, "format": 1}', "'format' twice"),
        ("\x80", "not JSON"),
    ],
)
def test_odd_files_are_refused(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(AllocationError, match=message):
        plan.read(path)


def test_a_large_plan_is_read_in_no_time(tmp_path):
    groups = {f"group{number}.conv": [0] for number in range(40_000)}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"format": 1, "arch": "x", "residual": "internal", "groups": groups}))
    began = time.monotonic()
    assert len(plan.read(path).groups) == 40_000
    assert time.monotonic() - began < 2


def test_a_name_without_end_is_told_in_no_time(network, tmp_path):
    path = tmp_path / "plan.json"
    odd = {"format": 1, "arch": "x", "residual": "internal", "groups": {"stage" * 50_000: [0]}}
    path.write_text(json.dumps(odd))
    began = time.monotonic()
    with pytest.raises(AllocationError, match="did you mean"):
        plan.apply(plan.read(path), network)
    assert time.monotonic() - began < 2
