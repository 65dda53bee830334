"""Where the picture lies in the network's input: what is outside is the letterbox's border and need not be coded."""

from typing import NamedTuple


class Window(NamedTuple):
    """Content from (left, top) to (right, bottom), exclusive, in pixels of a width x height input.

    Both sides derive it from the picture's size, in integers, so it is not sent.
    """

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int
