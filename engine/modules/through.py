"""What a user allows channels to leave all the same: norms over all of them, and single dimensions of heads.

It is written on the modules themselves: copies of a network keep it, files do not.
"""

from torch import nn

_MARK = "narrows_its_statistics"
_HEAD_DIMS = "loses_head_dims"


def over_all_channels(module: nn.Module) -> bool:
    """Does a norm take its statistics over all channels, so that removing one changes the others?"""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == 1 < module.num_channels
    return isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1


def let_through(model: nn.Module) -> int:
    """Let channels leave through all norms over all channels; returns how many there are."""
    norms = [module for module in model.modules() if over_all_channels(module)]
    for norm in norms:
        setattr(norm, _MARK, True)
    return len(norms)


def goes_through(module: nn.Module) -> bool:
    """May channels leave through this norm?"""
    return getattr(module, _MARK, False)


def let_head_dims_leave(model: nn.Module) -> None:
    """From now on attention heads lose dimensions instead of leaving as a whole."""
    setattr(model, _HEAD_DIMS, True)


def loses_head_dims(model: nn.Module) -> bool:
    """Do attention heads of this network lose dimensions?"""
    return getattr(model, _HEAD_DIMS, False)
