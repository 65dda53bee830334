"""The embedded detector: one-stage, anchor-free, cut in two at one narrow tensor.

    image [N,3,S,S] in 0..1
      Front   unshuffle 4 -> 48@S/4 -> 96@S/8 -> CSP -> 1x1 -> cut [N,16,S/8,S/8]      (on the edge)
      Back    3x3 16->96 -> CSP@S/8 -> CSP 192@S/16 -> CSP 256@S/32 -> PAN 64 -> heads  (in the cloud)
    raw [N,A,classes+32]: class logits, then four distances of 8 bins each (left, top, right, bottom)

A counts the cells of strides 8, 16 and 32: 2100 at S = 320. The stem is a pixel unshuffle because a strided
3 -> 24 convolution at full size keeps a CPU's matrix units idle. Losses are in `train.losses`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.geometry import GREY

STRIDES = (8, 16, 32)
BINS = 8


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and LeakyReLU(0.1); a kernel of 3 keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        nn.LeakyReLU(0.1, inplace=True),
    )


class Residual(nn.Module):
    """A 1x1 and a 3x3 convolution around a skip: [N,C,H,W] -> [N,C,H,W]."""

    def __init__(self, width: int, skip: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width, 1), conv(width, width))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, as large as `x`."""
        return x + self.body(x) if self.skip else self.body(x)


class CSP(nn.Module):
    """Half of the channels pass `depth` blocks, half go around: [N,inputs,H,W] -> [N,outputs,H,W]."""

    def __init__(self, inputs: int, outputs: int, depth: int, skip: bool = True) -> None:
        super().__init__()
        self.enter = conv(inputs, outputs, 1)
        self.blocks = nn.Sequential(*(Residual(outputs // 2, skip) for _ in range(depth)))
        self.leave = conv(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the merged halves."""
        around, through = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat((self.blocks(through), around), 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling, windows 5, 9 and 13 as a chain of 5s: [N,C,H,W] -> [N,C,H,W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = conv(width, width // 2, 1)
        self.leave = conv(width * 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with its surroundings' maxima mixed in."""
        pools = [self.enter(x)]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        return self.leave(torch.cat(pools, 1))


class Front(nn.Module):
    """The edge half: image [N,3,S,S] in 0..1 -> cut [N,channels,S/8,S/8]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4), conv(48, 48), conv(48, 96, stride=2), CSP(96, 96, 1), conv(96, channels, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the cut tensor. The letterbox's grey becomes 0, like what the convolutions pad with."""
        return self.body((image - GREY / 255) * 4)


class Head(nn.Module):
    """One stride's predictions: [N,width,H,W] -> [N,H*W,classes+32]."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls = conv(width, width)
        self.reg = conv(width, width)
        self.score = nn.Conv2d(width, classes, 1)
        self.sides = nn.Conv2d(width, 4 * BINS, 1)
        nn.init.constant_(self.score.bias, -4.6)  # every class starts at a probability of 0.01

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, cells in raster order."""
        return torch.cat((self.score(self.cls(x)), self.sides(self.reg(x))), 1).flatten(2).transpose(1, 2)


class Back(nn.Module):
    """The cloud half: cut [N,channels,S/8,S/8] -> raw [N,A,classes+32]."""

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.c3 = nn.Sequential(conv(channels, 96), CSP(96, 96, 2))
        self.c4 = nn.Sequential(conv(96, 192, stride=2), CSP(192, 192, 2))
        self.c5 = nn.Sequential(conv(192, 256, stride=2), Pyramid(256), CSP(256, 256, 1))
        self.lateral = nn.ModuleList(conv(c, width, 1) for c in (96, 192, 256))
        self.down = nn.ModuleList(CSP(2 * width, width, 1, skip=False) for _ in range(2))
        self.shrink = nn.ModuleList(conv(width, width, stride=2) for _ in range(2))
        self.up = nn.ModuleList(CSP(2 * width, width, 1, skip=False) for _ in range(2))
        self.heads = nn.ModuleList(Head(width, classes) for _ in STRIDES)

    def forward(self, cut: Tensor) -> Tensor:
        """Return the raw predictions of all three strides, finest first."""
        c3 = self.c3(cut)
        c4 = self.c4(c3)
        c5 = self.c5(c4)
        p3, p4, p5 = (lateral(c) for lateral, c in zip(self.lateral, (c3, c4, c5), strict=True))
        p4 = self.down[0](torch.cat((p4, F.interpolate(p5, scale_factor=2.0)), 1))
        p3 = self.down[1](torch.cat((p3, F.interpolate(p4, scale_factor=2.0)), 1))
        p4 = self.up[0](torch.cat((p4, self.shrink[0](p3)), 1))
        p5 = self.up[1](torch.cat((p5, self.shrink[1](p4)), 1))
        return torch.cat([head(p) for head, p in zip(self.heads, (p3, p4, p5), strict=True)], 1)


class Detector(nn.Module):
    """Front and back in one; `coding`, where given, stands for the codec at the cut."""

    def __init__(self, classes: int = 8, channels: int = 16) -> None:
        super().__init__()
        self.classes = classes
        self.front = Front(channels)
        self.back = Back(channels, classes)

    def forward(self, image: Tensor, levels: int | None = None) -> Tensor:
        """Return raw predictions of `image`, the cut coded with `levels` quantiser levels (None: uncoded)."""
        cut = self.front(image)
        return self.back(cut if levels is None else coarse(cut, levels))


def coarse(cut: Tensor, levels: int) -> Tensor:
    """Clip and quantise `cut` to `levels` uniform levels; gradients pass where nothing was clipped.

    The interval stands in for the codec's own model: for a Laplace variable the best clip lies near
    (0.45 + 0.78 log2 N) standard deviations, and LeakyReLU leaves a tenth of it below zero.
    """
    with torch.no_grad():
        value = cut.float()
        top = value.mean() + (0.45 + 0.78 * math.log2(levels)) * value.std()
        bottom = -0.1 * top
        step = (top - bottom) / (levels - 1)
    clipped = torch.minimum(torch.maximum(cut, bottom.to(cut.dtype)), top.to(cut.dtype))
    with torch.no_grad():
        error = ((clipped - bottom) / step).round() * step + bottom - clipped
    return clipped + error.to(cut.dtype)


def cells(size: int) -> tuple[Tensor, Tensor]:
    """Return the cells' centres [A,2] (x, y in network pixels) and strides [A] for a square input."""
    centres, strides = [], []
    for stride in STRIDES:
        line = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(line, line, indexing="ij")
        centres.append(torch.stack((x, y), -1).reshape(-1, 2))
        strides.append(torch.full((len(line) ** 2,), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def boxes_of(sides: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Return boxes [...,A,4] (x1, y1, x2, y2 in network pixels) for side logits [...,A,32]."""
    bins = torch.arange(BINS, dtype=sides.dtype, device=sides.device)
    distance = (sides.unflatten(-1, (4, BINS)).softmax(-1) * bins).sum(-1) * strides[:, None]
    return torch.cat((centres - distance[..., :2], centres + distance[..., 2:]), -1)
