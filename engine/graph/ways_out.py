"""What a user can do about a reason for which channels stay."""

# Words of a reason -> the way out; the first that are found count.
_WAYS_OUT = {
    "the network fails": "take the number from x.shape, not from the code",
    "does not follow its channels": "take the number from x.shape, not from the code",
    "runs other code": "let the code take the same path at every width",
    "computes with the number of channels": "keep the width out of the arithmetic, or accept that it stays",
    "only runs in training": "remove the auxiliary part if nothing needs it",
    "network output": "what the network returns keeps its width",
    "no rule for this op": "write it with layers and pointwise ops, or accept that it stays",
    "statistics over all channels": "`through_norms` lets them leave: the others are then normalised alone",
    "do not go by channel": "let channels stay along one axis of the tensor",
    "channels meet other channels": "products of channels with channels need all of both",
    "remembered state": "what a recurrent layer remembers keeps its width",
    "offsets at": "two per pixel of a kernel, and the op says so",
    "coordinates at": "two per place, and the op says so",
    "channels are mixed": "the op reads all channels at once; they stay whole",
    "would not read as zero": "an activation that leaves zero at zero, such as relu, lets them leave",
    "no parameter": "store the weight as a parameter: torch.nn.utils.parametrize.remove_parametrizations",
    "without channel identity": "make it a parameter or buffer of the module, one entry per channel",
    "channels without identity": "make what they meet a parameter or buffer, one entry per channel",
    "spread over many": "one map that all channels are combined with stays",
    "scattered branch": "the stream is full width in `residual` scatter; coupled narrows it",
    "zero channel written into the code": "pad by what the shapes need, not by a number",
    "mixed ids": "let channels stay along one axis of the tensor",
    "several axes": "let channels stay along one axis of the tensor",
}


def way_out(reason: str) -> str:
    """What to change so that channels held for this reason may leave; empty where nobody knows."""
    return next((told for words, told in _WAYS_OUT.items() if words in reason), "")
