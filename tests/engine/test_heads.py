"""Attention heads leave as whole heads, exactly, whatever the attention is written like."""

import numpy as np
import prune
import pytest
import token_networks
import torch
from prune.engine import criteria
from prune.engine.errors import FitError
from prune.engine.graph.trace import trace
from prune.engine.modules.attention import in_plain_sight
from prune.engine.modules.numbers import set_numbers
from soaked import often
from token_outcomes import IMAGES, SIZE, check_against_zeros, check_files, loaded, pruned, wrapped
from torch import nn
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d, SwinTransformer3d

HEADS = {  # network -> its first group of heads, heads, and filters of one
    "fused": ("attention.qkv", 4, 18),
    "separate": ("attention.query", 4, 6),
    "pooled": ("attention.qkv", 2, 36),  # a number of another meaning is as large as that of heads
    "encoder": ("body.layers.0.self_attn.in_proj_weight", 4, 18),
    "vit": ("encoder.layers.encoder_layer_0.self_attention.in_proj_weight", 4, 18),
    "swin": ("features.1.0.attn.qkv", 3, 12),
    "maxvit": ("blocks.0.layers.0.layers.window_attention.attn_layer.1.to_qkv", 2, 12),
}


@pytest.fixture(scope="module")
def outcomes():
    return pruned(HEADS)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_one_channel_of_all_that_makes_it(name, outcomes):
    _, outcome = outcomes[name]
    group_name, heads, filters = HEADS[name]
    group = next(group for group in outcome.map.groups if group.name == group_name)
    assert len(group.channels) == heads
    assert group.free.all()
    layer = outcome.map.layer(group_name)
    assert np.unique(layer.out_ids, return_counts=True)[1].tolist() == [filters] * heads
    assert outcome.counts[group_name] == (heads - heads // 2, heads)


@pytest.mark.parametrize("name", HEADS)
def test_the_narrow_network_is_the_one_whose_heads_are_silent(name, outcomes):
    check_against_zeros(name, *outcomes[name])


def test_files_load_by_themselves_in_a_new_process(outcomes, tmp_path):
    check_files(outcomes, tmp_path)


@pytest.mark.parametrize(
    "name",  # vit's attention is that of the encoder, maxvit's windows those of swin
    often(HEADS, but=["vit", "maxvit"]),
)
def test_it_trains_on_and_is_pruned_again(name, outcomes, tmp_path):
    _, outcome = outcomes[name]
    model = loaded(name, outcome, tmp_path).model.train()
    model(IMAGES.float()).square().mean().backward()
    weights = [p for key, p in model.named_parameters() if "qkv" in key or "in_proj" in key or "query" in key]
    assert weights
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)
    torch.optim.SGD(model.parameters(), 0.01).step()
    net = prune.wrap(model.eval(), SIZE)
    group, heads, _ = HEADS[name]
    if heads > 2:
        again = prune.prune(net, prune.plan(net, rate=0.5))
        assert again.counts[group] == (1, heads - heads // 2)
        assert again.difference < 1e-12


def test_in_place_too():
    model = token_networks.make_fused()
    net = prune.wrap(model, SIZE)
    outcome = prune.prune(net, prune.plan(net, rate=0.5), in_place=True)
    assert outcome.model is model
    assert (model.attention.num_heads, model.attention.attn_dim, model.attention.head_dim) == (2, 12, 6)
    assert model(IMAGES.float()).shape == (3, 5)


def test_code_that_holds_on_to_the_width_keeps_its_heads_and_says_where():
    net = prune.wrap(token_networks.make_inputs_width(), SIZE)
    outcome = prune.prune(net, prune.plan(net, rate=0.5))
    assert outcome.model.attention.qkv.out_features == 72
    assert outcome.model.attention.num_heads == 4
    assert outcome.model.mlp.fc1.out_features == 10
    assert "attention" in outcome.pinned["attention.qkv"]


def test_the_stream_of_a_transformer_stays_and_says_why():
    outcome = prune.prune(net := prune.wrap(token_networks.make_fused(), SIZE), prune.plan(net, rate=0.5))
    assert outcome.model.patches.out_channels == 24
    assert "layer_norm in norm" in outcome.pinned["patches"]


def test_hidden_units_that_mix_tokens_leave():
    net = prune.wrap(token_networks.make_mixer(), SIZE)
    outcome = prune.prune(net, prune.plan(net, rate=0.5))
    assert outcome.model.mix[0].out_features == 5
    assert outcome.model.channels.fc1.out_features == 10
    assert outcome.difference < 1e-12


@pytest.mark.parametrize("batch_first", [True, False])
def test_encoders_go_another_way_in_training_and_evaluation_and_lose_the_same_heads(batch_first):
    """Torch's encoder layers have a path past their attention module, in evaluation."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(24, 4, 32, 0.0, batch_first=batch_first, norm_first=True)
    net = prune.wrap(
        token_networks.MeanLogits(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)).eval(), SIZE
    )
    outcome = prune.prune(net, prune.plan(net, rate=0.5))
    assert len(outcome.model.body.layers[0].self_attn.in_proj_weight) == 36
    with torch.no_grad():
        evaluated = outcome.model.eval()(IMAGES.float())
        trained = outcome.model.train()(IMAGES.float())
    assert torch.allclose(evaluated, trained, atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", ["none", "bool", "float", "both"])
def test_attention_in_plain_sight_computes_what_that_of_torch_does(need_weights, batch_first, masks):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(12, 3, batch_first=batch_first).double().eval()
    nn.init.normal_(attention.in_proj_bias)
    x = torch.randn(4, 5, 12, dtype=torch.float64)
    batch, tokens = (4, 5) if batch_first else (5, 4)
    upper = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    padding = torch.arange(tokens).expand(batch, -1) >= tokens - 1
    added = torch.randn(tokens, tokens, dtype=torch.float64)
    given = {
        "none": {},
        "bool": {"attn_mask": upper},
        "float": {"attn_mask": added},
        "both": {"attn_mask": upper, "key_padding_mask": padding},
    }[masks]
    expected, expected_weights = attention(x, x, x, need_weights=need_weights, **given)
    with in_plain_sight(attention):
        assert type(attention) is not nn.MultiheadAttention
        found, weights = attention(x, x, x, need_weights=need_weights, **given)
    assert type(attention) is nn.MultiheadAttention
    assert torch.allclose(found, expected, atol=1e-12)
    assert (weights is None) == (expected_weights is None)
    assert weights is None or torch.allclose(weights, expected_weights, atol=1e-12)


def test_attention_to_something_else_is_that_of_torch():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 6, 12)
    expected, _ = attention(x, memory, memory)
    with in_plain_sight(attention):
        found, _ = attention(x, memory, memory)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["swin", "maxvit"])
def test_windows_in_plain_sight_compute_what_those_of_torchvision_do(name):
    model = getattr(token_networks, f"make_{name}")().double()
    with torch.no_grad():
        expected = model(IMAGES)
        with in_plain_sight(model):
            assert torch.allclose(model(IMAGES), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(4, 7, 6), (1, 5, 5), (4, 3, 6)])  # padded, and smaller than a window
@pytest.mark.parametrize("shift", [0, 1])
def test_boxes_in_plain_sight_compute_what_those_of_torchvision_do(size, shift):
    torch.manual_seed(0)
    attention = ShiftedWindowAttention3d(12, [2, 3, 3], [shift] * 3, 3).double().eval()
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, *size, 12, dtype=torch.float64)
    expected = attention(x)
    with in_plain_sight(attention):
        assert type(attention) is not ShiftedWindowAttention3d
        assert torch.allclose(attention(x), expected, atol=1e-12)


def test_heads_leave_a_network_of_videos():
    torch.manual_seed(0)
    model = SwinTransformer3d([2, 4, 4], 12, [2], [3], [2, 2, 2], num_classes=5).eval()
    net = prune.wrap(model, (3, 4, 16, 16))
    outcome = prune.prune(net, prune.plan(net, layers={"features.0.0.attn.qkv": 0.4}))
    assert outcome.counts["features.0.0.attn.qkv"] == (2, 3)
    assert not outcome.notes
    assert outcome.difference < 1e-12


def test_heads_are_scored_by_the_filters_that_make_them():
    model = token_networks.make_separate()
    traced = trace(model, SIZE)
    batches = [(IMAGES.float(), torch.arange(3))]
    for criterion in ("l1", "fpgm", "taylor", "random"):
        scores = criteria.score(criterion, model, traced, batches=batches)
        assert {"attention.query", "attention.key", "attention.value"} <= scores.keys()
        assert len(scores["attention.query"]) == 24


@pytest.mark.parametrize(
    "numbers", [{"nothing": {"x": 1}}, {"attention": {"x": 1}}, {"attention": {"num_heads": 5}}]
)
def test_numbers_of_a_file_that_do_not_fit_are_refused(numbers):
    model = token_networks.make_fused()
    with pytest.raises(FitError, match="has no number"):
        set_numbers(model, numbers)
    assert model.attention.num_heads == 4


@pytest.mark.parametrize("name", ["fused", "encoder"])
def test_compensation_makes_up_for_units_and_heads(name):
    net = wrapped(name)
    images = torch.randn(192, *SIZE, generator=torch.Generator().manual_seed(2))
    unseen = torch.randn(64, *SIZE, generator=torch.Generator().manual_seed(3))
    outcome = prune.prune(net, prune.plan(net, rate=0.5))
    with torch.no_grad():
        whole = net.model(unseen)
        cut = (outcome.model(unseen) - whole).square().mean()
        prune.compensate(net, outcome, [images])
        mended = (outcome.model.eval()(unseen) - whole).square().mean()
    assert mended < 0.5 * cut


def test_obs_scores_heads_and_units_by_what_cannot_be_made_up_for():
    model = token_networks.make_encoder()
    traced = trace(model, SIZE)
    images = torch.randn(64, *SIZE, generator=torch.Generator().manual_seed(2))
    scores = criteria.score("obs", model, traced, batches=[(images, torch.zeros(64))])
    heads = scores["body.layers.0.self_attn.in_proj_weight"]
    assert len(heads.unique()) == 4
    assert len(scores["body.layers.0.linear1"].unique()) > 1
