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
