"""Parts of the installation that not everybody has."""

import contextlib
from collections.abc import Iterator

from common.errors import MidstreamError


class MissingPartError(MidstreamError):
    """This installation lacks what the command needs."""


@contextlib.contextmanager
def part(extra: str) -> Iterator[None]:
    """Import and run inside this: a package that is not installed becomes a sentence naming the extra to install."""
    try:
        yield
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] in ("bench", "cloud", "common", "edge", "midstream", "train"):
            raise
        raise MissingPartError(
            f"this command needs the package {e.name!r}, which is not installed here. "
            f"Install the part it belongs to: pip install 'midstream[{extra}]'"
        ) from e
