"""LeNet-5 for 28x28 grey images, in the wider form with BN that ResRep's authors prune.

LeCun et al., Proc. IEEE 86(11), 1998; the widths 20, 50 and 500 are those of Caffe's LeNet.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from .initialise import keep_forward_variance
from .registry import register
from .units import ConvBN


class LeNet5(nn.Module):
    """Two unpadded 5x5 convolutions and BN, a pool after each, a hidden linear layer, a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=ConvBN(1, 20, 5, padding=0),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=ConvBN(20, 50, 5, padding=0),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
            )
        )
        self.linear1 = nn.Linear(50 * 4 * 4, 500)
        self.linear2 = nn.Linear(500, num_classes)
        self.apply(keep_forward_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.linear2(F.relu(self.linear1(self.stem(images_NCHW).flatten(1))))


@register(
    "lenet5",
    num_classes=10,
    input_size=(1, 28, 28),
    aliases=("lenet5bn",),
    conv_order=("stem.conv1.conv", "stem.conv2.conv"),
    source="LeCun et al., Proc. IEEE 86(11), 1998, with BN and Caffe's widths",
)
def lenet5(num_classes: int) -> nn.Module:
    """Build the network."""
    return LeNet5(num_classes)
