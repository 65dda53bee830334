"""The family: a base layer for the detector, perhaps a layer for masks, and the picture layer, described by data.

features -> base ----> features^ -> the detector's back half
| context   | features^
|           v
|     features -> middle (if any) -> features^ -> mask head
|                   | context
v                   v
picture -> picture layer (analysis and synthesis are told the context of the layer below it) -> picture^
^
features^, context -> preview: what the base layer shows by itself
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.nets.blocks import Residual, stack, up
from train.nets.features import CONTEXT, PATCH, FeatureAnalysis, LatentTransform
from train.nets.latent import Latent
from train.nets.passes import Passes
from train.nets.picture import USUAL, Analysis, Depths, Synthesis

PREVIEW = 160
"""Pixels of the preview's side, of the network's whole square."""
HYPER = 64, 96
"""Channels of a picture's z, and of the networks around it."""
MASKS = ("background", "person", "vehicle")


@dataclass(frozen=True)
class Family:
    """What a recipe says: which layers, and what each may learn from."""

    shape: tuple[int, ...]
    """Of the cut, [C,H,W]."""
    middle: bool = False
    shared: bool = True
    """Whether the base layer learns from the picture, too (TIP 2022), or for the detector alone (DCC 2023)."""
    conditional: bool = False
    """Whether the picture layer's probabilities know the base layer: p(y2 | y1)."""
    base_channels: int = 192
    middle_channels: int = 96
    picture_channels: int = 192


@dataclass(frozen=True)
class Decoded:
    """What came back of features, what the layers above are told, and what it cost."""

    features: Tensor
    context: Tensor
    y: Tensor
    bits: Tensor
    """[N]."""


class FeatureLayer(nn.Module):
    """Analysis, latent and latent-space transform of features [N,C,H,W]; `beside` a layer below, of its features^."""

    def __init__(self, shape: tuple[int, ...], channels: int, hyper: int, width: int, beside: bool = False) -> None:
        super().__init__()
        below = shape[0] if beside else 0
        self.analysis = FeatureAnalysis(shape[0], channels, below)
        self.latent = Latent(channels, hyper, width, halvings=1)
        self.transform = LatentTransform(shape[0], channels, below)
        self.register_buffer("blank", torch.zeros(shape))
        """The features of a blank picture: what stands outside the content."""

    def forward(
        self, features: Tensor, step: Tensor, mask: Tensor, below: Tensor | None = None, told: bool = True
    ) -> Decoded:
        """Code features; `mask` [N,1,H/4,W/4] is 1 where the content is, `told` whether it learns from above."""
        coded = self.latent(self.analysis(features, below) * mask, step, mask)
        decoded, context = self.transform(coded.y, below, told)
        seen = F.interpolate(mask, scale_factor=PATCH)
        return Decoded(decoded * seen + self.blank * (1 - seen), context, coded.y, coded.bits + coded.side_bits)


class PictureLayer(nn.Module):
    """Analysis, latent and synthesis of pictures [N,3,H,W] in 0..1; H and W multiples of 64."""

    def __init__(
        self,
        channels: int = 192,
        context: int = 0,
        conditional: int = 0,
        depths: Depths = USUAL,
        linear: bool = False,
        hyper: tuple[int, int] = HYPER,
        passes: Passes = (),
        told: bool = False,
    ) -> None:
        """`linear`: no nets, whatever `depths` says. `hyper` are the channels of z and of the networks around it.

        `told`: the nets know the step.
        """
        super().__init__()
        self.told = told
        self.analysis = Analysis(channels, context, None if linear else depths[0], told)
        self.latent = Latent(channels, *hyper, context=conditional, passes=passes)
        self.synthesis = Synthesis(channels, context, None if linear else depths[1], told)

    def forward(
        self, x: Tensor, step: Tensor, context: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the reconstruction and the bits of each picture [N]."""
        coded = self.latent(self.analysis(x, context, step), step, context=known)
        return self.synthesis(coded.y, context, step), coded.bits + coded.side_bits


class Below(nn.Module):
    """What p(y2 | y1) sees of y1: [N,C,H,W] -> [N,32,2H,2W]; ships as integers, like a hyper-decoder."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4 * width, 1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
        )

    def forward(self, y: Tensor) -> Tensor:
        """Return the context of probabilities."""
        return self.layers(y / 16)


class Preview(nn.Module):
    """Decoded features [N,C,40,40] and context [N,32,40,40] -> [N,3,160,160] in 0..1: the base layer's own picture."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape[0], 1, 1))
        self.register_buffer("size", torch.ones(shape[0], 1, 1))
        self.layers = nn.Sequential(
            nn.Conv2d(shape[0] + CONTEXT, 64, 3, padding=1),
            *stack(64, 3),
            nn.ReLU(),
            nn.Conv2d(64, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        """Return the picture."""
        known = torch.cat(((features - self.mean) / self.size, context.to(features.dtype)), 1)
        return self.layers(known).float() * 0.25 + 0.5


class MaskHead(nn.Module):
    """Features [N,C,40,40] -> logits [N,3,160,160] of `MASKS`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape[0], 1, 1))
        self.register_buffer("size", torch.ones(shape[0], 1, 1))
        self.layers = nn.Sequential(nn.Conv2d(shape[0], 64, 3, padding=1), Residual(64), Residual(64), nn.ReLU())
        self.wide = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=4, dilation=4), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU()
        )
        self.leave = up(64, len(MASKS), 4)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        x = self.layers((features - self.mean) / self.size)
        return self.leave(x + self.wide(x)).float()


class Scalable(nn.Module):
    """All layers of one family."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        self.base = FeatureLayer(family.shape, family.base_channels, 24, 64)
        self.middle = FeatureLayer(family.shape, family.middle_channels, 16, 48, beside=True) if family.middle else None
        self.head = MaskHead(family.shape) if family.middle else None
        self.below = Below(family.base_channels) if family.conditional else None
        self.picture = PictureLayer(family.picture_channels, CONTEXT, 32 if family.conditional else 0)
        self.preview = Preview(family.shape)

    def picture_of(
        self, x: Tensor, step: Tensor, under: Decoded, base: Decoded, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Code pictures above decoded layers; `places` [N,H/16,W/16,2]: where each cell lies in the network's square,
        -1 to 1 from edge to edge, x before y.
        """
        context = sampled(under.context, places)
        known = None
        if self.below is not None:
            known = sampled(self.below(base.y.detach()), places)
        return self.picture(x, step, context, known)


def sampled(context: Tensor, places: Tensor) -> Tensor:
    """Return context [N,K,H,W] at places [N,h,w,2], the edge repeated: [N,K,h,w]."""
    return F.grid_sample(context.float(), places, "bilinear", "border", align_corners=False)
