"""Every error this project raises on purpose; foreign errors are translated where they enter."""


class MidstreamError(Exception):
    """The root: catching it catches nothing that is a bug."""


class BitstreamError(MidstreamError):
    """Coded bytes that break docs/bitstream.md, or do not fit the bundle they name."""


class MissingReferenceError(MidstreamError):
    """A frame was coded after another that is not at hand. Coded again, alone, it can be decoded."""


class BundleError(MidstreamError):
    """A bundle that is missing, damaged, foreign, or not what its digest says."""


class FrameError(MidstreamError):
    """A picture that cannot be taken. `status` is the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SettingsError(MidstreamError):
    """A setting that is missing or out of range; the message says which and what would do."""
