"""What the link has to spare for pixels beside the frames, in bytes. No clock of its own: whoever asks says when."""

BURST_S = 10.0
"""Seconds of what is spare that can be saved up."""


class Allowance:
    """Ask `may` before each enhancement, tell `spent` after it.

    One enhancement has more bytes than many frames, so the first may go as soon as there is anything to spare, and the
    next when what that took has been made up for.
    """

    def __init__(self) -> None:
        self._saved = 0.0
        self._at: float | None = None

    def __repr__(self) -> str:
        return f"<allowance: {self._saved:.0f} bytes>"

    def may(self, spare: float | None, now: float) -> bool:
        """Whether an enhancement may go, of a link with so many bytes a second to spare; None: as many as it takes."""
        passed, self._at = 0.0 if self._at is None else now - self._at, now
        if spare is None:
            self._saved = 0.0
            return True
        self._saved = min(BURST_S * spare, self._saved + passed * spare)
        return spare > 0 and self._saved >= 0

    def spent(self, size: int) -> None:
        """An enhancement of so many bytes went."""
        self._saved -= size
