"""What a dataset from an unknown file must prove before a byte of it is read or allocated."""

import math

# h5py's low-level modules are compiled and have no stubs.
from h5py import h5d, h5g, h5l, h5o, h5s, h5t, h5z  # pyright: ignore[reportAttributeAccessIssue]

from .errors import BadWeightFile

# Deflate turns one byte into at most 1032, and LZF stays far below. Other compressors know no such bound, and
# for one it does not know HDF5 would go and load a plug-in.
MAX_EXPANSION = 1032
_COMPRESSORS = {h5z.FILTER_DEFLATE, h5z.FILTER_LZF}
_HARMLESS_FILTERS = {h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}

_LINK_KINDS = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}
_TYPE_KINDS = {
    h5t.STRING: "text",
    h5t.VLEN: "values of variable length",
    h5t.COMPOUND: "compound values",
    h5t.REFERENCE: "references",
    h5t.OPAQUE: "opaque values",
    h5t.ARRAY: "arrays",
    h5t.BITFIELD: "bit fields",
    h5t.ENUM: "an enumeration",
}


class Budget:
    """The bytes of a file that its datasets may still claim: together they cannot be larger than the file."""

    def __init__(self, file_bytes: int) -> None:
        self.left = file_bytes

    def claim(self, stored_bytes: int, where: str) -> None:
        """Take the bytes one dataset occupies in the file.

        Raises:
            BadWeightFile: the datasets so far leave fewer bytes than that.
        """
        if stored_bytes > self.left:
            raise BadWeightFile(
                f"{where} claims {stored_bytes} bytes, but the file has only {self.left} left for it"
            )
        self.left -= stored_bytes


def open_dataset(root: h5g.GroupID, name: bytes, link_type: int, budget: Budget, where: str) -> h5d.DatasetID:
    """Open a dataset that is safe to read: plain numbers, all of them in this file, of a believable size.

    Args:
        link_type: how the file's root refers to it.
        where: the dataset and its file, for the error.
    Raises:
        BadWeightFile: what it is instead.
    """
    if link_type != h5l.TYPE_HARD:
        kind = _LINK_KINDS.get(link_type, "a user-defined link")
        raise BadWeightFile(f"{where} is {kind}; a weight file holds its own datasets only")
    if h5o.get_info(root, name).type != h5o.TYPE_DATASET:
        raise BadWeightFile(f"{where} is a group or a type, not a dataset; a weight file is flat")
    dataset = h5d.open(root, name)
    _require_numbers(dataset, where)
    _require_own_bytes(dataset, where)
    stored = dataset.get_storage_size()
    budget.claim(stored, where)
    _require_believable_size(dataset, stored, where)
    return dataset


def _require_numbers(dataset: h5d.DatasetID, where: str) -> None:
    type_class = dataset.get_type().get_class()
    is_bool = type_class == h5t.ENUM and dataset.dtype.kind == "b"  # h5py stores booleans as an enumeration
    if type_class not in (h5t.INTEGER, h5t.FLOAT) and not is_bool:
        kind = _TYPE_KINDS.get(type_class, "values of an unknown type")
        raise BadWeightFile(f"{where} holds {kind}; allowed are floats, booleans and integers")
    if dataset.get_space().get_simple_extent_type() == h5s.NULL:
        raise BadWeightFile(f"{where} has no shape and no values; write it again")


def _require_own_bytes(dataset: h5d.DatasetID, where: str) -> None:
    properties = dataset.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL:
        raise BadWeightFile(f"{where} is virtual, its values lie in other files; copy them into one file")
    if properties.get_external_count():
        raise BadWeightFile(f"{where} keeps its values in an external file; copy them into one file")


def _require_believable_size(dataset: h5d.DatasetID, stored: int, where: str) -> None:
    """Compare the bytes that reading will allocate with those the file really spends on them."""
    properties = dataset.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    compressors = [code for code in filters if code not in _HARMLESS_FILTERS]
    if len(compressors) > 1 or not _COMPRESSORS.issuperset(compressors):
        raise BadWeightFile(
            f"{where} uses HDF5 filters {filters}; allowed is one of gzip and lzf; write it again without"
        )
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    if declared and properties.get_layout() == h5d.CHUNKED:  # chunks are read whole, also where they overhang
        chunk = properties.get_chunk()
        sides = [-(-side // step) * step for side, step in zip(dataset.shape, chunk, strict=True)]
        declared = math.prod(sides) * dataset.dtype.itemsize
    allowed = stored * (MAX_EXPANSION if compressors else 1)
    if declared > allowed:
        bound = (
            f"no compression gives more than {MAX_EXPANSION} times that"
            if compressors
            else "they are not all there"
        )
        raise BadWeightFile(
            f"{where} declares shape {dataset.shape}, {declared} bytes; the file holds {stored}: {bound}"
        )
