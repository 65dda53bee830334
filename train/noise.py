"""The noise that training draws: of the levels that tests have, of any between, and as cameras' sensors add it."""

import numpy as np

from bench.noise import SIGMAS

MOST = 55.0
GAIN = 4.0
"""The most that a camera's gain makes of a photon, in 255ths; its variance at white is 255 times that."""
READ = 12.0
"""The most of a sensor's own noise, a standard deviation."""


def drawn(rng: np.random.Generator) -> tuple[float, float]:
    """A sigma and a gain for training: those of the tests, anything between, and light's own noise."""
    kind = rng.random()
    if kind < 0.6:
        return SIGMAS[rng.integers(len(SIGMAS))], 0.0
    if kind < 0.8:
        return rng.uniform(0, MOST), 0.0
    return rng.uniform(0, READ), rng.uniform(0, GAIN)
