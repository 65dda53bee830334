"""Frames whose bundle the cloud does not hold: how long they are waited for, and how a stream ends because of them."""

from common.codec.container import PREFIX_BYTES


class StreamEndedError(Exception):
    """The cloud closed the stream, or did not keep to its rules."""


class StrangerError(StreamEndedError):
    """The cloud does not hold a frame's bundle, and takes nothing more on this stream. `failed`: it was waited for long
    enough, and those behind it may go now.
    """

    def __init__(self, detail: str, failed: bool) -> None:
        super().__init__(f"the cloud does not hold a frame's bundle, asked again later: {detail or 'no detail'}")
        self.failed = failed

    @classmethod
    def failed_in(cls, errors: BaseExceptionGroup[BaseException]) -> bool:
        """Whether a frame has failed, in a group of groups."""
        return errors.subgroup(lambda e: isinstance(e, cls) and e.failed) is not None


class Strangers:
    """Bundles the cloud does not hold, by the prefix in their frames' containers: since when.

    A cloud that is being upgraded will hold them again, and frames stay in order; so they wait, and those behind them
    too. But not for ever: then they fail, and the others go on. Only time in which the cloud could be asked counts.
    """

    MOST = 64

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[bytes, float] = {}

    def over(self, bundle: bytes, now: float) -> bool:
        """Whether frames of this bundle have waited long enough."""
        since = self._since.setdefault(bundle, now)
        while len(self._since) > self.MOST:
            del self._since[next(iter(self._since))]
        return now - since >= self._patience

    def known(self, bundle: bytes) -> None:
        """The cloud took a frame of this bundle."""
        self._since.pop(bundle, None)

    def away(self, seconds: float) -> None:
        """The cloud could not be asked for so long."""
        for bundle in self._since:
            self._since[bundle] += seconds


def prefix_of(payload: bytes) -> bytes:
    """Of the bundle that a container names: it stands behind magic, version and codec."""
    return payload[4 : 4 + PREFIX_BYTES]
