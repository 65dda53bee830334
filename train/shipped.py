"""Weights out of a bundle, as training names them: where the run that a bundle came of is gone, training goes on here.

A bundle holds all that codes and decodes. Networks of integers become floating point again. The small nets of offsets
and steps ship as tables, which they are fitted to; of the densities of z only the centres are there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from common.bundle import Bundle
from common.layers import LOW
from common.scalable.latent_features import ARRAYS
from train.bundles.frequency import HIGH, SHRINK
from train.bundles.pictures import FIXED, PICTURE
from train.integers import INPUT_UNITS, SHUFFLE
from train.latents import MEAN_UNITS, OFFSET_UNITS, SCALE_UNITS, scales
from train.nets import rate

INSIDE = 256.0
"""What 1.0 is inside a recovered network of integers. Any would do: what follows a ReLU can be scaled at will."""
FITTING = 1000
"""Steps in which a small net learns its table."""

WRAPPED = "network."
"""Before the names of a network that shipped in a wrapper (`AtStep`, `Difference`, `Added`)."""

Weights = dict[str, Tensor]
Arrays = Mapping[str, NDArray[Any]]


def frequency(bundle: Bundle) -> Weights:
    """The weights of a codec of low and high frequencies, named as those of a `Frequency`.

    Raises FileNotFoundError or KeyError if the bundle has none.
    """
    parts = {name: network(bundle, f"frequency_{name}.onnx") for name in ("analysis", "synthesis")}
    below = named(chain(arrays(bundle), f"{HIGH}.context", FIXED * SHRINK, "layers"))
    return named(parts | {"low": latent(bundle, LOW), "high": latent(bundle, HIGH), "below": below})


def named(parts: Mapping[str, Weights]) -> Weights:
    """Weights of parts under the parts' names."""
    return {f"{part}.{name}": value for part, weights in parts.items() for name, value in weights.items()}


def arrays(bundle: Bundle) -> Arrays:
    """Those of all latents."""
    with np.load(bundle.path / ARRAYS, allow_pickle=False) as archive:
        return dict(archive)


def network(bundle: Bundle, file: str) -> Weights:
    """The weights of an ONNX file by the modules' names, half precision and eight bits (`onnx_files`) undone.

    The convolution that a `Linear` ships as is what it holds fast.
    """
    weights_ = onnx.load(bundle.path / file).graph.initializer
    stored = {w.name.removeprefix(WRAPPED): numpy_helper.to_array(w) for w in weights_}
    found = {}
    for name, value in stored.items():
        known, _, kind = name.rpartition(".")
        if kind == "whole":
            found[known] = value.astype(np.float32) * stored[f"{known}.unit"]
        elif kind != "unit":
            found[known if kind == "half" else name] = value.astype(np.float32)
    weights = {name: torch.from_numpy(value) for name, value in found.items()}
    for name in [name for name in weights if name.startswith("linear") and name.endswith(".weight")]:
        weights[name.replace(".weight", ".fixed")] = weights.pop(name)[..., 0, 0]
    return weights


def latent(bundle: Bundle, prefix: str) -> Weights:
    """Those of a `Latent`."""
    known, hyper = arrays(bundle), network(bundle, f"{prefix}_hyper.onnx")
    spread = hyper.pop("spread").ravel()
    parts = {"decoder": named(chain(known, f"{prefix}.decoder", INPUT_UNITS, "layers")), **_nets(known, prefix)}
    if f"{prefix}.passes" in known:
        parts["passes"] = _passes(known, prefix, spread)
    else:
        parts["decoder"] |= named({"head": _head(known, f"{prefix}.head", spread)})
    centre = torch.from_numpy(known[f"{prefix}.centre"]).float()[:, None, None] / INPUT_UNITS
    return hyper | {"spread": spread, "prior.centre": centre} | named(parts)


def _passes(known: Arrays, prefix: str, spread: Tensor) -> Weights:
    found: dict[str, Weights] = {}
    for number, place in enumerate(torch.from_numpy(known[f"{prefix}.passes"].astype(np.int64))):
        name, (first, end, _) = f"{prefix}.pass.{number}", place.tolist()
        if f"{name}.context.kinds" in known:
            found |= chain(known, f"{name}.context", INPUT_UNITS, f"{number}.context")
        found[f"{number}.head"] = _head(known, f"{name}.head", spread[first:end])
        found[str(number)] = {"place": place}
    return named(found)


def chain(known: Arrays, name: str, units: float, called: str) -> dict[str, Weights]:
    """A sequence of convolutions, ReLUs and shuffles that shipped as integers; 1.0 enters as `units`."""
    found, at = {}, 0
    for number, kind in enumerate(known[f"{name}.kinds"]):
        found[f"{called}.{at}"] = _layer(known, f"{name}.{number}", units, np.float64(INSIDE))
        units, at = INSIDE, at + (3 if kind & SHUFFLE else 2)
    return found


def _head(known: Arrays, name: str, spread: Tensor) -> Weights:
    """Of channels with these spreads: scales ship in units of y."""
    found = _layer(known, f"{name}.0", INSIDE, np.repeat([MEAN_UNITS, SCALE_UNITS], len(spread)))
    found["bias"][len(spread) :] -= torch.log2(spread)
    return found


def _layer(known: Arrays, name: str, given: float, units: NDArray[np.float64] | np.float64) -> Weights:
    weight, bias, shift = (known[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    unit = np.exp2(-shift.astype(np.float64)) / units
    return {
        "weight": torch.from_numpy(weight * unit[:, None, None, None] * given).float(),
        "bias": torch.from_numpy(bias * unit).float(),
    }


def _nets(known: Arrays, prefix: str) -> dict[str, Weights]:
    """The nets of offsets and of z's steps, by their tables at the middle of each level."""
    middle = [PICTURE.step(PICTURE.middle(level)) for level in range(len(known[f"{prefix}.levels"]))]
    steps, wide = torch.tensor(middle), torch.from_numpy(scales()).float().clamp_min(rate.LEAST_SCALE)
    offsets = torch.from_numpy(known[f"{prefix}.offset"]).float() / OFFSET_UNITS
    hyper = torch.from_numpy(known[f"{prefix}.z_step"]).float() / INPUT_UNITS
    return {
        "offsets": _fitted(rate.Offsets(), (wide.expand(len(steps), -1), steps[:, None]), offsets),
        "hyper_step": _fitted(rate.Step(), (steps,), hyper),
    }


def _fitted(net: nn.Module, given: Sequence[Tensor], wanted: Tensor) -> Weights:
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    with torch.enable_grad():
        for _ in range(FITTING):
            optimiser.zero_grad()
            (net(*given) - wanted).square().mean().backward()
            optimiser.step()
    return {name: value.detach() for name, value in net.state_dict().items()}
