"""What a user allows beyond whole channels and heads that leave a network exact: see `modules.through`."""

from dataclasses import replace

from ..errors import FitError
from ..graph.head_dims import HEAD_DIMS
from ..graph.known import known_trace
from ..modules.through import let_head_dims_leave, let_through
from .network import Network


def widened(network: Network, *, through_norms: bool = False, head_dims: bool = False) -> Network:
    """The network, from now on such that more may leave it.

    Args:
        through_norms: channels may leave norms over all of them.
        head_dims: attention heads lose dimensions instead of leaving as a whole.

    Raises:
        FitError: it has no such norm, or no attention of several heads that could be followed.
    """
    if through_norms and not let_through(network.model):
        raise FitError(
            "`through_norms` is for networks with a norm over all channels (LayerNorm, GroupNorm of one "
            "group, RMSNorm, LocalResponseNorm), and this one has none; leave it out"
        )
    if head_dims:
        let_head_dims_leave(network.model)
        if not len(known_trace(network.model, network.takes).map.ids_of(HEAD_DIMS)):
            raise FitError(
                "`head_dims` is for networks with attention of several heads, and this one has none that "
                "could be followed; leave it out"
            )
    return replace(network, through_norms=through_norms, head_dims=head_dims)
