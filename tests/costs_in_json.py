"""What commands say of costs with --json: keys that stay, and layers that add up."""

from collections.abc import Mapping
from typing import Any

COST_KEYS = {"arch", "macs", "params", "baseline", "layers"}
LAYER_KEYS = {"name", "in", "out", "kernel", "stride", "out_hw", "macs", "params"}


def check_costs(result: Mapping[str, Any]) -> None:
    """The stable keys, and layers that add up."""
    assert result.keys() >= COST_KEYS
    assert result["baseline"].keys() == {"macs", "params"}
    assert all(layer.keys() == LAYER_KEYS for layer in result["layers"])
    assert sum(layer["macs"] for layer in result["layers"]) == result["macs"]
