"""Operating points: what was asked for of each camera, what was decided for it, and what its next frame gets.

A choice is a mode, a quality and a codec, each fixed or `auto`. A camera's own choice comes first, then everybody's,
then the settings'. Choices outlive the process, in data_dir/operating-points.json; decisions (control.py) do not.
"""

import json
import re
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import structlog

from common.types import Mode
from edge import kept

AUTO: Literal["auto"] = "auto"
Auto = Literal["auto"]
CODEC = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""The name of a bundle."""
MAX_FILE_BYTES = 4 << 20
"""More than ten thousand cameras' choices."""

log = structlog.get_logger(__name__)


class Point(NamedTuple):
    """Where a frame is coded: which way it goes, and how well. Each mode has its own scale of qualities."""

    mode: Mode
    quality: int


class Choice(NamedTuple):
    """What somebody asked for. `codec` is the name of a bundle, or `auto`: the one that the cloud says."""

    mode: Mode | Auto
    quality: int | Auto
    codec: str = AUTO


@dataclass(frozen=True, slots=True)
class Decided:
    """What the edge decided where it was left to, and why."""

    point: Point
    cause: str


class Scale(Protocol):
    """The qualities of a mode."""

    @property
    def qualities(self) -> Collection[int]:
        """Which there are; more is better."""
        ...

    @property
    def default_quality(self) -> int:
        """The one to use when nobody asks for another."""
        ...


Scales = Mapping[Mode, Scale]


class OperatingPoints:
    """Raises nothing when the file is damaged: an edge codes frames with the settings' choice, and says so."""

    def __init__(self, default: Choice, max_cameras: int, path: Path | None = None) -> None:
        self._default = default
        self._chosen: Choice | None = None
        """For everybody; None: nobody did, so the settings' counts, whatever it will be after a restart."""
        self.cameras: dict[str, Choice] = {}
        self.decided: dict[str, Decided] = {}
        self._max_cameras = max_cameras
        self._path = path
        self._writing = threading.Lock()
        self._load()

    @property
    def everybody(self) -> Choice:
        """What cameras get that have no choice of their own."""
        return self._chosen or self._default

    def modes(self) -> set[Mode]:
        """Those that frames may get by what was chosen."""
        chosen = {choice.mode for choice in (self.everybody, *self.cameras.values())}
        return set(Mode) if AUTO in chosen else {Mode(mode) for mode in chosen}

    def codecs(self) -> set[str]:
        """The names of bundles that frames may be coded with by what was chosen."""
        return {choice.codec for choice in (self.everybody, *self.cameras.values())} - {AUTO}

    def choice(self, camera: str) -> Choice:
        """What was asked for of this camera."""
        return self.cameras.get(camera, self.everybody)

    def of(self, camera: str, scales: Scales) -> Point:
        """The point of this camera's next frame."""
        chosen = resolved(self.choice(camera), scales)
        decided = self.decided.get(camera)
        if chosen.mode == AUTO or chosen.quality == AUTO:
            if decided and keeps(chosen, decided.point, scales):
                return decided.point
            mode = next(iter(scales)) if chosen.mode == AUTO else chosen.mode
            return Point(mode, scales[mode].default_quality)
        return Point(chosen.mode, chosen.quality)

    def cause(self, camera: str, scales: Scales) -> str:
        """Why it is this point."""
        choice = self.choice(camera)
        chosen = resolved(choice, scales)
        if chosen != choice:
            return f"this bundle cannot do what was asked for: {choice.mode}, {choice.quality}"
        if AUTO not in (chosen.mode, chosen.quality):
            return "fixed"
        decided = self.decided.get(camera)
        return decided.cause if decided and keeps(chosen, decided.point, scales) else "nothing speaks against it"

    def set(self, choice: Choice, camera: str | None = None) -> None:
        """Choose, for one camera or for all that have no choice of their own; kept on disk when this returns.

        Raises ValueError at the bound of cameras, OSError if the disk does not take it: then nothing has changed.
        """
        with self._writing:
            chosen, cameras = self._chosen, dict(self.cameras)
            if camera is None:
                chosen = choice
            elif camera in cameras or len(cameras) < self._max_cameras:
                cameras[camera] = choice
            else:
                raise ValueError(
                    f"{self._max_cameras} cameras have operating points of their own already; "
                    "DELETE /v1/operating-point?camera=NAME takes one back"
                )
            self._keep(chosen, cameras)

    def take_back(self, camera: str | None = None) -> None:
        """Undo what was chosen: a camera gets what everybody gets, everybody what the settings say; others stay.

        Raises OSError if the disk does not take it: then nothing has changed.
        """
        with self._writing:
            chosen = None if camera is None else self._chosen
            self._keep(chosen, {name: choice for name, choice in self.cameras.items() if name != camera})

    # ---- on disk

    def _keep(self, chosen: Choice | None, cameras: dict[str, Choice]) -> None:
        if self._path is not None:
            kept.write(self._path, json.dumps({"everybody": chosen, "cameras": cameras}))
        self._chosen, self.cameras = chosen, cameras

    def _load(self) -> None:
        if self._path is None or not self._path.exists():
            return
        try:
            said = json.loads(kept.read(self._path, MAX_FILE_BYTES))
            chosen = None if said["everybody"] is None else _read_choice(said["everybody"])
            cameras = {str(name): _read_choice(choice) for name, choice in said["cameras"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            log.warning("the kept operating points cannot be read; the settings' are used", error=str(e))
            return
        self._chosen, self.cameras = chosen, dict(list(cameras.items())[: self._max_cameras])


def resolved(choice: Choice, scales: Scales) -> Choice:
    """The choice as far as this bundle can do it; what it cannot is left to the edge."""
    if choice.mode != AUTO and choice.mode not in scales:
        return choice._replace(mode=next(iter(scales)), quality=AUTO)
    if choice.mode == AUTO or choice.quality == AUTO:
        return choice._replace(quality=AUTO)
    return choice if choice.quality in scales[choice.mode].qualities else choice._replace(quality=AUTO)


def keeps(choice: Choice, point: Point, scales: Scales) -> bool:
    """Whether a decided point is one that the choice leaves open, and the bundle has it."""
    if point.mode not in scales or point.quality not in scales[point.mode].qualities:
        return False
    return choice.mode in (AUTO, point.mode) and choice.quality in (AUTO, point.quality)


def _read_choice(said: Iterable[Any]) -> Choice:
    mode, quality, codec = (*said, AUTO)[:3]  # older files have no codec
    if not isinstance(codec, str) or not CODEC.fullmatch(codec):
        raise ValueError(f"no codec: {codec!r:.80}")
    if quality != AUTO and (type(quality) is not int or not 0 <= quality <= 65535):
        raise ValueError(f"no quality: {quality!r}")
    return Choice(AUTO if mode == AUTO else Mode(mode), AUTO if quality == AUTO else quality, codec)
