"""Settings per layer, as torch.ao's pruners and NNI take them."""

import pytest
from prune.engine.errors import AllocationError
from prune.engine.selection.layer_settings import read_layer_settings

LAYERS = {"stem": "Conv2d", "body.0": "Conv2d", "body.1": "Conv2d", "up": "ConvTranspose2d"}


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ([{"tensor_fqn": "stem.weight", "sparsity_level": 0.5}], {"stem": 0.5}),
        ([{"tensor_fqn": ".body.0.weight", "sparsity_level": 0}], {"body.0": 0.0}),
        ([{"op_names": ["stem", "up"], "sparsity_per_layer": 0.25}], {"stem": 0.25, "up": 0.25}),
        ([{"op_types": ["ConvTranspose2d"], "sparsity": 0.5}], {"up": 0.5}),
        ([{"op_types": ["Conv2d"], "op_names": ["stem", "up"], "sparse_ratio": 0.5}], {"stem": 0.5}),
        ([{"op_names_re": [r"body\.\d"], "sparse_ratio": 0.5}], {"body.0": 0.5, "body.1": 0.5}),
        ([{"op_names_re": ["bod"], "sparse_ratio": 0.5}], {"body.0": 0.5, "body.1": 0.5}),
        ([{"op_partial_names": ["dy.1"], "sparsity": 0.5}], {"body.1": 0.5}),
        (
            [{"op_types": ["Conv2d"], "sparse_ratio": 0.5, "exclude_op_names": ["stem"]}],
            {"body.0": 0.5, "body.1": 0.5},
        ),
        (
            [{"op_names_re": [".*"], "sparse_ratio": 0.5, "exclude_op_types": ["Conv2d"]}],
            {"up": 0.5},
        ),
        (
            [{"op_types": ["Conv2d"], "sparse_ratio": 0.5, "exclude_op_names_re": ["body"]}],
            {"stem": 0.5},
        ),
        (
            [{"op_types": ["Conv2d"], "sparsity": 0.5}, {"op_names": ["stem"], "sparsity": 0.1}],
            {"stem": 0.1, "body.0": 0.5, "body.1": 0.5},
        ),
        ({"stem.weight": 0.5, "body.*": 0.25, "body.1": 0}, {"stem": 0.5, "body.0": 0.25, "body.1": 0}),
    ],
)
def test_every_form_comes_to_rates(settings, rates):
    assert read_layer_settings(settings, LAYERS).rates == rates


def test_what_is_excluded_keeps_all_filters_until_it_is_named_again():
    convs = {"op_types": ["Conv2d"], "sparsity": 0.5}
    stem = {"exclude": True, "op_names": ["stem"]}
    read = read_layer_settings([convs, stem], LAYERS)
    assert (read.rates, read.excluded) == ({"body.0": 0.5, "body.1": 0.5}, ("stem",))
    read = read_layer_settings([convs, stem, {"op_names": ["stem"], "sparsity": 0.2}], LAYERS)
    assert (read.rates["stem"], read.excluded) == (0.2, ())


def test_only_what_is_called_by_name_counts_as_named():
    read = read_layer_settings(
        [{"op_types": ["Conv2d"], "sparsity": 0.5}, {"tensor_fqn": "up.weight", "sparsity": 0.5}], LAYERS
    )
    assert read.named == {"up"}
    assert read_layer_settings({"stem.weight": 0.5, "body.*": 0.5}, LAYERS).named == {"stem"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"op_names": ["stme"], "sparsity": 0.5}, "'stme' is no layer with filters .* did you mean 'stem'"),
        ({"tensor_fqn": "stem.bias", "sparsity": 0.5}, "must name a convolution's weight"),
        ({"tensor_fqn": 3, "sparsity": 0.5}, "must name a convolution's weight"),
        ({"op_names": "stem", "sparsity": 0.5}, "op_names must be a list of texts, not 'stem'"),
        ({"op_types": ["Linear"], "sparsity": 0.5}, "no layer with filters here is of type 'Linear'.*Conv2d"),
        ({"op_names_re": ["head"], "sparsity": 0.5}, "'head' matches no layer with filters"),
        ({"op_names_re": ["("], "sparsity": 0.5}, r"'\(' is no regular expression"),
        ({"op_names": ["stem"]}, "gives no rate; give one of sparsity_level"),
        ({"op_names": ["stem"], "sparsity": 0.5, "sparse_ratio": 0.5}, "gives sparsity and sparse_ratio"),
        ({"op_names": ["stem"], "sparsity": 1}, "sparsity is 1; a share that is removed"),
        ({"op_names": ["stem"], "sparsity": "half"}, "sparsity must be a number, not 'half'"),
        ({"op_names": ["stem"], "sparsity": True}, "sparsity must be a number, not True"),
        ({"op_names": ["stem"], "total_sparsity": 0.5}, "'total_sparsity' .* said by flops= or params="),
        ({"op_names": ["stem"], "sparsity": 0.5, "granularity": "out_channel"}, "whole filters leave"),
        ({"op_name": ["stem"], "sparsity": 0.5}, "no key 'op_name'; did you mean 'op_names'"),
        ({"op_names": ["stem"], "colour": 1}, "no key 'colour'; known are tensor_fqn"),
        ({"sparsity": 0.5}, "names no layer; give one of tensor_fqn"),
        ({"exclude": True, "op_names": ["stem"], "sparsity": 0.5}, "excludes layers and gives them a rate"),
        ("stem", "layer setting 'stem' is of type str"),
    ],
)
def test_what_cannot_be_meant_is_refused(setting, message):
    with pytest.raises(AllocationError, match=message):
        read_layer_settings([setting], LAYERS)


def test_globs_that_match_nothing_are_refused():
    with pytest.raises(AllocationError, match=r"layer 'tail\.\*' matches no layer"):
        read_layer_settings({"tail.*": 0.5}, LAYERS)
    with pytest.raises(AllocationError, match="the rate of 'stem' is 2"):
        read_layer_settings({"stem": 2}, LAYERS)
