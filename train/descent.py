"""A step that helps every objective: the shortest vector in the hull of their gradients (MGDA).

Desideri's multiple-gradient descent, solved by Frank and Wolfe's method as Sener and Koltun (NeurIPS 2018) do. The
vector's product with every gradient is at least its own square, so no objective gets worse to first order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDS = 50
CLOSE = 1e-6


def shares(products: Tensor) -> Tensor:
    """Weights [K] >= 0 that sum to 1 and make |sum of weight * gradient| least; `products` [K,K] are of gradients."""
    products = products.double()
    count = len(products)
    weights = torch.full((count,), 1 / count, dtype=torch.float64, device=products.device)
    for _ in range(ROUNDS):
        slopes = products @ weights
        best = int(slopes.argmin())
        now, mixed, alone = weights @ slopes, slopes[best], products[best, best]
        reach = now - 2 * mixed + alone
        if now - mixed <= CLOSE * now or reach <= 0:
            break
        far = ((now - mixed) / reach).clamp(0, 1)
        weights = (1 - far) * weights
        weights[best] += far
    return weights


def common(gradients: Sequence[Sequence[Tensor]]) -> tuple[list[Tensor], Tensor]:
    """The common descent direction, parameter by parameter, and the objectives' weights [K].

    `gradients` are one list an objective. Each counts by its direction alone: of gradients as they are, the shortest
    vector follows the smallest, that of the objective which has the least to gain.
    """
    flat = torch.stack([torch.cat([g.flatten().float() for g in of]) for of in gradients])
    flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
    weights = shares(flat @ flat.T)
    mixed = weights.float() @ flat
    out, at = [], 0
    for like in gradients[0]:
        out.append(mixed[at : at + like.numel()].view_as(like))
        at += like.numel()
    return out, weights
