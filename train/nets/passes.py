"""A latent coded in passes: each is told what those before it brought back.

    hidden, from z ------------------------------------------------+-> head -> means, scales of the pass's channels
    state: y^ of earlier passes, else 0 -> 3x3 -> ReLU -> 1x1 -> ReLU

A pass takes some channels (Minnen & Singh, ICIP 2020) at all cells, or at those of one colour of a checkerboard (He et
al., CVPR 2021; both: He et al., CVPR 2022). The first channels are those that vary most and tell most: they go in small
groups, the very first on the checkerboard, or several. All of it ships as integers, like the hyper-decoder.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.codec.passes import ALL, EVEN, ODD, seen
from train.nets.blocks import quiet

WIDTH = 96


class Pass(NamedTuple):
    """Channels first to end - 1, at the cells of a parity."""

    first: int
    end: int
    parity: int = ALL

    @property
    def seen(self) -> int:
        """How many channels have something decoded before it."""
        return seen(*self)


Passes = tuple[Pass, ...]


def grouped(*ends: int, checkered: int = 1) -> Passes:
    """Groups of channels that end there, so many of the first ones on a checkerboard."""
    groups = enumerate(pairwise((0, *ends)))
    return tuple(Pass(*of, each) for n, of in groups for each in ((EVEN, ODD) if n < checkered else (ALL,)))


def cells(parity: int, height: int, width: int) -> Tensor:
    """1 where a cell [H,W] is of the parity, else 0."""
    if parity == ALL:
        return torch.ones(height, width)
    return ((torch.arange(height)[:, None] + torch.arange(width)) % 2 == parity).float()


class Told(nn.Module):
    """hidden [N,D,H,W] and the state [N,S,H,W] -> mean and log2 scale of a pass's channels, as a `HyperDecoder`'s."""

    def __init__(self, of: Pass, hidden: int, width: int = WIDTH) -> None:
        super().__init__()
        self.of = of
        self.register_buffer("place", torch.tensor(of))
        """The same, for whoever has only the weights."""
        self.register_load_state_dict_post_hook(_check_place)
        wide = nn.Conv2d(of.seen, width, 3, padding=1, padding_mode="replicate") if of.seen else None
        self.context = nn.Sequential(wide, nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()) if wide else None
        self.head = quiet(nn.Conv2d(hidden + (width if wide else 0), 2 * (of.end - of.first), 1))

    def forward(self, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 scales."""
        if self.context is not None:
            hidden = torch.cat((hidden, self.context(state).to(hidden.dtype)), 1)
        mean, scale = self.head(hidden).chunk(2, 1)
        return mean, scale


def _check_place(told: nn.Module, _: object) -> None:
    assert isinstance(told, Told)
    if told.place.tolist() != list(told.of):
        raise ValueError(f"expected the weights of pass {tuple(told.of)}, got those of {told.place.tolist()}")


def passes_of(weights: Mapping[str, Tensor], latent: str) -> Passes:
    """Those of the latent whose weights' names begin so."""
    found: list[Pass] = []
    while (name := f"{latent}passes.{len(found)}.place") in weights:
        found.append(Pass(*weights[name].tolist()))
    return tuple(found)


def shared(weights: Mapping[str, Tensor], latent: str, passes: Passes) -> dict[str, Tensor]:
    """Weights of a latent shared out to its new passes, which begin where it was.

    It was coded at once, or in groups of the same channels of which fewer were on a checkerboard.
    """
    before, whole = passes_of(weights, latent), f"{latent}decoder.head."
    told = f"{latent}passes."
    found = {name: value for name, value in weights.items() if not name.startswith((whole, told))}
    for number, new in enumerate(passes):
        if before:
            fits = [old[:2] == new[:2] and old.parity in (new.parity, ALL) for old in before]
            if not any(fits):
                raise ValueError(f"{latent}: expected a pass like {tuple(new)} of {[tuple(old) for old in before]}")
            name = f"{told}{fits.index(True)}."
            own = {each.removeprefix(name): value for each, value in weights.items() if each.startswith(name)}
            del own["place"]
        else:
            halves = {part: weights[whole + part].chunk(2) for part in ("weight", "bias")}
            own = {f"head.{part}": torch.cat([half[slice(*new[:2])] for half in of]) for part, of in halves.items()}
        found |= {f"{told}{number}.{each}": value for each, value in own.items()}
    return found
