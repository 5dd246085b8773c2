"""Which layers choose together, against the definition: sharing a channel, directly or by way of others."""

import numpy as np
import pytest
from prune.engine.graph.channels import Layer, LayerKind
from prune.engine.graph.trace import _groups


def layer(name: str, ids: list[int], kind: LayerKind = "conv") -> Layer:
    shape = (len(ids), 1, 1, 1)
    return Layer(
        name, f"{name}.weight", None, kind, shape, np.array(ids), np.arange(1), (1, 1), 1, (4, 4), 16
    )


def by_definition(layers: list[Layer]) -> list[list[str]]:
    """Connected components, in the order of their first layers, found by walking from layer to layer."""
    left, components = list(layers), []
    while left:
        component = [left.pop(0)]
        for member in component:  # grows while it is walked
            reached = [other for other in left if set(other.out_ids) & set(member.out_ids)]
            component += reached
            left = [other for other in left if other not in reached]
        components.append([member.name for member in sorted(component, key=layers.index)])
    return components


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_the_connected_components(seed: int):
    draw = np.random.default_rng(seed)
    layers = [
        layer(f"conv{number}", draw.choice(60, size=draw.integers(1, 6), replace=False).tolist())
        for number in range(15)
    ]
    groups = list(_groups(tuple(layers), set(), {}, {}))
    assert [list(group.producers) for group in groups] == by_definition(layers)
    for group in groups:
        made = [i for member in layers if member.name in group.producers for i in member.out_ids]
        assert group.channels.tolist() == list(dict.fromkeys(made))
        assert group.name == group.producers[0]


def test_depthwise_layers_join_nothing():
    layers = (layer("one", [0]), layer("dw", [0, 1], "depthwise"), layer("two", [1]))
    assert [group.producers for group in _groups(layers, set(), {}, {})] == [("one",), ("two",)]
