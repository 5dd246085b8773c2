"""What a network costs, as every command tells machines."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.graph.cost import Cost


def cost_facts(arch: str, cost: "Cost", baseline: "Cost") -> dict[str, Any]:
    """The stable keys under which every command states what a network costs."""
    return {
        "arch": arch,
        "macs": cost.macs,
        "params": cost.params,
        "baseline": {"macs": baseline.macs, "params": baseline.params},
        "layers": [
            {
                "name": layer.name,
                "in": layer.in_,
                "out": layer.out,
                "kernel": layer.kernel,
                "stride": layer.stride,
                "out_hw": layer.out_hw,
                "macs": layer.macs,
                "params": layer.params,
            }
            for layer in cost.layers
        ],
        **({"opaque": dict(cost.opaque)} if cost.opaque else {}),
    }
