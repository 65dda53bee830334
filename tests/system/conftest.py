"""A running product for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stand import Stand


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """A fresh cloud and a fresh edge."""
    with Stand(tmp_path) as running:
        yield running
