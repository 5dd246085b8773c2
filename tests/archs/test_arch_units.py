"""The units against loops written from their definitions, in both memory formats."""

import pytest
import torch
import torch.nn.functional as F
from prune.archs.units import ConvBN, Merge, PadShortcut
from torch import Tensor, nn

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Small(nn.Module):
    """One residual block over a padding shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBN(3, 4, 3)
        self.branch = ConvBN(4, 9, 3, stride=2)
        self.shortcut = PadShortcut(4, 9, 2)
        self.merge = Merge()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        return self.merge(self.shortcut(x), self.branch(x))


def narrowed() -> Small:
    """`Small` after some surgery: another shortcut, and 3 filters that go to chosen channels."""
    model = Small()
    model.branch = ConvBN(4, 3, 3, stride=2)
    model.merge.index = torch.tensor([6, 0, 5])
    model.shortcut.index = torch.tensor([3, -1, 0, 0, -1, 2, 1])
    return model


def merge_by_loop(stream: Tensor, branch: Tensor, index: Tensor) -> Tensor:
    channels = list(stream.unbind(1))
    for position, target in enumerate(index.tolist()):
        channels[target] = channels[target] + branch[:, position]
    return torch.stack(channels, 1)


def shortcut_by_loop(x: Tensor, index: list[int], stride: int) -> Tensor:
    small = x[:, :, ::stride, ::stride]
    return torch.stack([torch.zeros_like(small[:, 0]) if i < 0 else small[:, i] for i in index], 1)


def assert_same_with_gradients(function, reference, *inputs: Tensor) -> None:
    results = []
    for f in (function, reference):
        leaves = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
        out = f(*leaves)
        weights = torch.arange(out.numel(), dtype=out.dtype).view(out.shape).cos()
        results.append([out, *torch.autograd.grad((out * weights).sum(), leaves)])
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_merge_at_index_equals_a_loop_and_keeps_format_and_inputs(memory_format):
    stream = torch.randn(2, 7, 5, 4).to(memory_format=memory_format)
    branch = torch.randn(2, 3, 5, 4).to(memory_format=memory_format)
    before = stream.clone(), branch.clone()
    merge = Merge()
    merge.index = torch.tensor([6, 0, 3])
    assert_same_with_gradients(
        merge, lambda s, b: merge_by_loop(s, b, torch.tensor([6, 0, 3])), stream, branch
    )
    assert merge(stream, branch).is_contiguous(memory_format=memory_format)
    assert torch.equal(stream, before[0])
    assert torch.equal(branch, before[1])


def test_merge_takes_mixed_formats_and_promotes_mixed_dtypes():
    stream = torch.randn(2, 7, 5, 4).to(memory_format=torch.channels_last)
    branch = torch.randn(2, 3, 5, 4)
    merge = Merge()
    merge.index = torch.tensor([1, 2, 4])
    assert_same_with_gradients(merge, lambda s, b: merge_by_loop(s, b, merge.index), stream, branch)
    out = merge(stream.bfloat16(), branch)
    torch.testing.assert_close(out, merge_by_loop(stream.bfloat16().float(), branch, merge.index))


def test_merge_without_index_is_the_plain_sum_and_stores_nothing():
    stream, branch = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert torch.equal(Merge()(stream, branch), stream + branch)
    assert Merge().state_dict() == {}


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("index", "stride"), [([-1, 0, 1, 2, -1, -1], 2), ([2, -1, 0, 0], 1), ([1], 3)])
def test_shortcut_equals_a_loop_and_keeps_the_format(memory_format, index, stride):
    shortcut = PadShortcut(3, 6, stride)
    shortcut.index = torch.tensor(index)
    x = torch.randn(2, 3, 7, 6).to(memory_format=memory_format)
    assert_same_with_gradients(shortcut, lambda x: shortcut_by_loop(x, index, stride), x)
    assert shortcut(x).is_contiguous(memory_format=memory_format)


def test_a_fresh_shortcut_is_the_centred_pad():
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(PadShortcut(16, 32, 2)(x), F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)))
    assert PadShortcut(2, 5, 1).index.tolist() == [-1, 0, 1, -1, -1]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_shortcut_within_one_width_passes_everything_and_stores_nothing(memory_format, stride):
    shortcut, x = PadShortcut(4, 4, stride), torch.randn(2, 4, 6, 6).to(memory_format=memory_format)
    assert shortcut.index is None
    assert shortcut.state_dict() == {}
    assert torch.equal(shortcut(x), x[:, :, ::stride, ::stride])
    assert stride > 1 or shortcut(x) is x


def test_an_index_of_a_shortcut_within_one_width_is_stored_set_and_unset_by_loading():
    cropping, plain = PadShortcut(4, 4, 1), PadShortcut(4, 4, 1)
    cropping.index = torch.tensor([0, 2, -1])
    plain.load_state_dict(cropping.state_dict())
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(plain(x), torch.stack([x[:, 0], x[:, 2], torch.zeros(2, 3, 3)], 1))
    plain.load_state_dict({})
    assert plain(x) is x
    cropping.index = torch.arange(4)  # this one says that the stream behind is another
    assert list(cropping.state_dict()) == ["index"]


def test_trivial_indices_are_not_stored_and_set_ones_are():
    assert not [name for name in Small().state_dict() if "index" in name]
    stored = {name: t.tolist() for name, t in narrowed().state_dict().items() if "index" in name}
    assert stored == {"shortcut.index": [3, -1, 0, 0, -1, 2, 1], "merge.index": [6, 0, 5]}


@pytest.mark.parametrize("assign", [False, True])
def test_loading_sets_indices_of_any_length(assign):
    source, target = narrowed(), Small()
    target.branch = ConvBN(4, 3, 3, stride=2)
    target.load_state_dict(source.state_dict(), assign=assign)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(target.eval()(x), source.eval()(x))
    assert set(target.state_dict()) == set(source.state_dict())
    source.merge.index += 1
    assert target.merge.index is not None
    assert (target.merge.index.tolist() == [6, 0, 5]) is not assign, "loading copies, unless told to assign"


def test_loading_a_state_without_indices_makes_them_trivial_even_out_of_empty_memory():
    plain = Small()
    target = narrowed()
    target.branch = ConvBN(4, 9, 3, stride=2)
    target.load_state_dict(plain.state_dict())
    with torch.device("meta"):
        emptied = Small()
    assert not [name for name in emptied.state_dict() if "index" in name]
    emptied = emptied.to_empty(device="cpu")
    emptied.shortcut.index.fill_(77)
    emptied.load_state_dict(plain.state_dict())
    with torch.device("meta"):
        assigned = Small()
    assigned.load_state_dict(plain.state_dict(), assign=True)
    x = torch.randn(2, 3, 8, 8)
    for model in (target, emptied, assigned):
        assert torch.equal(model.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("make", [Small, narrowed])
def test_export_sees_the_index_buffers_whether_stored_or_not(make):
    model = make().eval()
    x = torch.randn(2, 3, 8, 8)
    program = torch.export.export(model, (torch.zeros(2, 3, 8, 8),), strict=False)
    assert "shortcut.index" in program.graph_signature.inputs_to_buffers.values()
    buffers = dict(program.named_buffers())
    assert torch.equal(buffers["shortcut.index"], model.shortcut.index)
    assert ("merge.index" in buffers) is (model.merge.index is not None)
    gathers = [node for node in program.graph.nodes if node.target is torch.ops.aten.index.Tensor]
    assert len(gathers) == 1
    torch.testing.assert_close(program.module()(x), model(x))


def test_conv_bn_slots():
    unit = ConvBN(3, 6, 3, groups=3).eval()
    x = torch.randn(2, 3, 5, 5)
    assert unit.conv.bias is None
    assert unit.conv.groups == 3
    assert torch.equal(unit(x), unit.bn(unit.conv(x)))
    unit.compactor = nn.Conv2d(6, 6, 1, bias=False)
    assert torch.equal(unit(x), unit.compactor(unit.bn(unit.conv(x))))
    assert list(unit.state_dict())[-1] == "compactor.weight"
    unit.compactor, unit.bn = None, nn.Identity()
    assert torch.equal(unit(x), unit.conv(x))
