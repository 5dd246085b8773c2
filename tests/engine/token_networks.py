"""Small networks of tokens, as users have them: blocks of MLPs between LayerNorms, windows, a hidden head."""

import torch
from torch import Tensor, nn

SIZE = (3, 16, 16)


class Mlp(nn.Module):
    """Tokens through hidden units, added to themselves."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return x_BNC + self.fc2(self.act(self.fc1(self.norm(x_BNC))))


class Tokens(nn.Module):
    """Patches of 4x4, one MLP on all tokens, one on windows that stand in the batch, a head with BN."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.whole, self.windows = Mlp(12, 20), Mlp(12, 16)
        self.hidden, self.bn, self.head = nn.Linear(12, 14), nn.BatchNorm1d(14), nn.Linear(14, 5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        x_BNC = self.whole(self.patches(images_NCHW).flatten(2).transpose(1, 2))
        windows = x_BNC.reshape(-1, 4, 12)  # four per image
        x_BNC = self.windows(windows).reshape(-1, 16, 12)
        return self.head(self.bn(self.hidden(x_BNC.mean(1))).relu())


def make_tokens() -> Tokens:
    """One with BN that is not the identity, in evaluation."""
    torch.manual_seed(0)
    model = Tokens().eval()
    for tensor in (model.bn.weight, model.bn.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    for tensor in (model.bn.bias, model.bn.running_mean):
        nn.init.uniform_(tensor, -0.3, 0.3)
    return model


class Attention(nn.Module):
    """One weight for queries, keys and values; the code knows its numbers by heart."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = heads, width // heads, width
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        batch, tokens, _ = x_BNC.shape
        qkv = self.qkv(x_BNC).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q * self.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, self.attn_dim))


class Pooled(nn.Module):
    """Queries of two tokens that lie side by side are one, and so many heads there are."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.stride, self.heads = 2, heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BNC).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = q.unflatten(2, (self.stride, -1)).amax(2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2)).repeat(1, self.stride, 1)


class Separate(nn.Module):
    """Queries, keys and values by layers of their own, and the fused operation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        split = (*x_BNC.shape[:2], self.heads, -1)
        q, k, v = (part(x_BNC).view(split).transpose(1, 2) for part in (self.query, self.key, self.value))
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ByFlag(Attention):
    """As timm has it: fused, it scales by the width that it sees; written out, by one that is kept."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.scale, self.fused_attn = self.head_dim**-0.5, True

    def forward(self, x_BNC: Tensor) -> Tensor:
        batch, tokens, _ = x_BNC.shape
        qkv = self.qkv(x_BNC).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused_attn:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q * self.scale @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, self.attn_dim))


class ByNumber(Separate):
    """As transformers has it: one number says how wide the heads of three layers are; the scale is kept."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.num_attention_heads, self.attention_head_size = heads, width // heads
        self.scaling = self.attention_head_size**-0.5

    def forward(self, x_BNC: Tensor) -> Tensor:
        split = (*x_BNC.shape[:2], -1, self.attention_head_size)
        q, k, v = (part(x_BNC).view(split).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=self.scaling)
        return self.out(mixed.transpose(1, 2).flatten(2))


class InputsWidth(Attention):
    """Takes the width of all heads from what it reads, which stays: no head can leave."""

    def forward(self, x_BNC: Tensor) -> Tensor:
        batch, tokens, channels = x_BNC.shape
        qkv = self.qkv(x_BNC).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q * self.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, channels))


class Attentive(nn.Module):
    """Patches, an attention between LayerNorm and residual sum, an MLP, a mean, a head."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.norm, self.attention, self.mlp = nn.LayerNorm(24), attention, Mlp(24, 20)
        self.head = nn.Linear(24, 5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        x_BNC = self.patches(images_NCHW).flatten(2).transpose(1, 2)
        x_BNC = x_BNC + self.attention(self.norm(x_BNC))
        return self.head(self.mlp(x_BNC).mean(1))


class Mixer(nn.Module):
    """Tokens are mixed channel by channel, through hidden units."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12)
        self.mix = nn.Sequential(nn.Linear(16, 10), nn.GELU(), nn.Linear(10, 16))
        self.channels, self.head = Mlp(12, 20), nn.Linear(12, 5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        x_BNC = self.patches(images_NCHW).flatten(2).transpose(1, 2)
        x_BNC = x_BNC + self.mix(self.norm(x_BNC).transpose(1, 2)).transpose(1, 2)
        return self.head(self.channels(x_BNC).mean(1))


class MeanLogits(nn.Module):
    """The mean over tokens of whatever a network of tokens returns, in five classes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.patches, self.body, self.head = nn.Conv2d(3, 24, 4, 4), body, nn.Linear(24, 5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.head(self.body(self.patches(images_NCHW).flatten(2).transpose(1, 2)).mean(1))


def _seeded(make, *args, **settings):
    torch.manual_seed(1)
    model = make(*args, **settings).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:  # biases of zero and tables near zero would hide mistakes
            nn.init.normal_(parameter, 0.0, 0.2)
    return model


def make_mixer():
    return _seeded(Mixer)


def make_fused():
    return _seeded(lambda: Attentive(Attention(24, 4)))


def make_separate():
    return _seeded(lambda: Attentive(Separate(24, 4)))


def make_by_flag():
    return _seeded(lambda: Attentive(ByFlag(24, 4)))


def make_by_number():
    return _seeded(lambda: Attentive(ByNumber(24, 4)))


def make_as_wide():
    """As many heads as each is wide."""
    between = (nn.Linear(24, 16), ByNumber(16, 4), nn.Linear(16, 24))
    return _seeded(lambda: Attentive(nn.Sequential(*between)))


def make_pooled():
    return _seeded(lambda: Attentive(Pooled(24, 2)))


def make_inputs_width():
    return _seeded(lambda: Attentive(InputsWidth(24, 4)))


def make_encoder(batch_first: bool = True):
    layer = nn.TransformerEncoderLayer(24, 4, 32, 0.0, batch_first=batch_first)
    return _seeded(lambda: MeanLogits(nn.TransformerEncoder(layer, 2)))


def make_vit():
    from torchvision.models import VisionTransformer

    sizes = {"image_size": 16, "patch_size": 4, "hidden_dim": 24, "mlp_dim": 32, "num_classes": 5}
    return _seeded(VisionTransformer, num_layers=1, num_heads=4, **sizes)


def make_swin():
    from torchvision.models import SwinTransformer

    return _seeded(SwinTransformer, [2, 2], 12, [2, 2], [3, 4], [3, 3], num_classes=5)


def make_maxvit():
    from torchvision.models import MaxVit

    return _seeded(MaxVit, (16, 16), 8, 2, [8], [1], head_dim=4, stochastic_depth_prob=0.0, num_classes=5)
