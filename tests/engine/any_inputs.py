"""Networks that take other things than one batch of images, or return other things than logits."""

from collections import OrderedDict

from torch import nn

SIZE = (3, 16, 16)


class Several(nn.Module):
    """Images to a tree of tensors."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.mask = nn.Conv2d(12, 5, 1)
        self.edge = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        early = self.stem(x).relu()
        late = self.norm(self.body(early)).relu()
        mask = self.mask(late)
        return OrderedDict(mask=mask, edges=[self.edge(early), (mask.argmax(1), 3)])


class Diffusion(nn.Module):
    """Noisy images, their times and a keyword to images."""

    def __init__(self):
        super().__init__()
        self.times = nn.Embedding(10, 6)
        self.into = nn.Linear(6, 8)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x, times, *, strength=1.0, more=None):
        hidden = self.stem(x).relu()
        hidden = self.body(hidden).relu() + self.into(self.times(times))[:, :, None, None]
        return {"noise": self.head(hidden) * strength + (0 if more is None else more["add"])}


class Detector(nn.Module):
    """Lists of images to boxes: nothing that a graph could follow, but for its backbone."""

    def __init__(self):
        super().__init__()
        self.backbone = Several()
        self.head = nn.Linear(5, 4)

    def forward(self, images):
        boxes = []
        for image in images:
            mask = self.backbone(image[None])["mask"].mean((2, 3))
            if mask.sum() > -1e9:
                boxes.append(self.head(mask))
        return boxes
