"""What a user allows beyond what leaves a network exact: channels that leave norms over all of them."""

from dataclasses import replace

from ..errors import FitError
from ..modules.through import let_through
from .network import Network


def through_norms(network: Network) -> Network:
    """The network, from now on such that channels may leave norms over all of them; see `modules.through`.

    Raises:
        FitError: it has no such norm.
    """
    if not let_through(network.model):
        raise FitError(
            "`through_norms` is for networks with a norm over all channels (LayerNorm, GroupNorm of one "
            "group, RMSNorm, LocalResponseNorm), and this one has none; leave it out"
        )
    return replace(network, through_norms=True)
