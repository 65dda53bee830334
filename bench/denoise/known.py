"""What was measured before, in the file of --json: rows that need not be measured again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.denoise.compare import Where, conclusions
from bench.denoise.evidence import Evidence
from bench.denoise.rows import Alone, Row
from common.errors import MidstreamError

Images = dict[str, list[str]]
"""Names of the files of each set of pictures."""


@dataclass
class Known:
    """All figures, as far as they are there."""

    images: Images
    ours: str = ""
    """The joint codec's name, and its bundle's digest."""
    digest: str = ""
    measured_by: dict[str, str] = field(default_factory=dict)
    """`measured_at` -> the command line that measured it last."""
    rows: list[Row] = field(default_factory=list)
    alone: list[Alone] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path | None, images: Images) -> Self:
        """What a file has of these pictures; nothing where there is no file.

        Raises MidstreamError if it is about other pictures of the same folders or is none of this bench.
        """
        if path is None or not path.exists():
            return cls(dict(images))
        try:
            found = cls.of(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise MidstreamError(f"{path} is not what `midstream bench denoise` writes ({e!r}): name another") from e
        if other := [name for name, files in images.items() if found.images.get(name, files) != files]:
            raise MidstreamError(f"{path} is about other pictures of {', '.join(other)}: name another, or remove it")
        found.images |= images
        return found

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From what `as_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(
            {name: list(files) for name, files in values["images"].items()},
            str(values["ours"]),
            str(values["digest"]),
            dict(values["measured_by"]),
            [Row.read(row) for row in values["rows"]],
            [Alone.read(row) for row in values["alone"]],
            [Evidence.read(row) for row in values["evidence"]],
        )

    def as_json(self) -> dict[str, Any]:
        """For --json, what follows from the rows included."""
        return {
            "images": self.images,
            "ours": self.ours,
            "digest": self.digest,
            "measured_by": self.measured_by,
            "rows": [row.as_json() for row in self.rows],
            "alone": [row.as_json() for row in self.alone],
            "evidence": [row.as_json() for row in self.evidence],
            **conclusions(self.rows, self.ours),
        }

    def set_ours(self, name: str, digest: str) -> None:
        """Say which bundle's codec is measured; what another one's gave is forgotten."""
        if self.digest != digest:
            self.rows = [row for row in self.rows if row.codec != self.ours]
            self.evidence = []
        self.ours, self.digest = name, digest

    def lacks(self, where: Where, codecs: Sequence[str]) -> list[str]:
        """Those of these codecs that were not measured there."""
        there = {row.codec for row in self.rows if row.where == where}
        return [codec for codec in codecs if codec not in there]

    def add(self, rows: Sequence[Row]) -> None:
        """Put these in the place of those that were there before, each codec's from few bits to many."""
        fresh = {(row.where, row.codec) for row in rows}
        self.rows = [row for row in self.rows if (row.where, row.codec) not in fresh] + list(rows)
        sets, codecs = list(self.images), list(dict.fromkeys(row.codec for row in self.rows))
        self.rows.sort(key=lambda r: (sets.index(r.pictures), r.gain, r.sigma, codecs.index(r.codec), r.bpp))


def measured_at(where: Where, codec: str) -> str:
    """What says where a codec was measured. It begins with the set of pictures and a comma."""
    pictures, noise = where
    return f"{pictures}, {noise.title}: {codec}"
