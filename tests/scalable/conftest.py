"""Examples are not timed: the machine may be busy with something else. Bundles are made once."""

from pathlib import Path

import pytest
from hypothesis import settings

from common.bundle import Bundle
from tests.scalable import tiny

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="session")
def two(made: Path) -> Bundle:
    """base and full, whose probabilities the base layer conditions"""
    return tiny.write(made, tiny.TWO, conditioned=True)


@pytest.fixture(scope="session")
def three(made: Path) -> Bundle:
    """base, mask and full"""
    return tiny.write(made, tiny.THREE)
