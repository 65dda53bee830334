"""What an operator may set: the only file of the edge that reads the environment."""

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import SettingsError
from common.types import Mode

PREFIX = "MIDSTREAM_EDGE_"
KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
ENVELOPE_BYTES = 64 * KiB
"""What multipart may add around a picture: boundaries, headers, other fields."""
_ADDRESS = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"


def edge_id_of(settings: "Settings", epoch: str) -> str:
    """The id that is set, or else the hostname and six digits of the spool's epoch: many machines share a hostname,
    and two edges with one id would take the stream from each other.
    """
    if settings.edge_id is not None:
        return settings.edge_id
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:57] or "edge"
    return f"{host}-{epoch[:6]}"


class Settings(BaseSettings):
    """MIDSTREAM_EDGE_<NAME> in the environment, or keyword arguments; MIDSTREAM_CLOUD for the cloud's address."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    cloud: Annotated[str, Field(pattern=_ADDRESS)] | None = Field(
        default=None, validation_alias=AliasChoices("cloud", "MIDSTREAM_CLOUD")
    )
    """host:port of the cloud's gRPC side. None: frames wait in the spool."""
    bundle: Path | None = None
    """A bundle folder to run whatever the cloud says. None: the cloud is asked."""
    edge_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """This edge's name in the cloud's records. None: the hostname and six digits that stay as long as data_dir does."""
    data_dir: Path = Path("data/edge")
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    """0: any free port. The port in use is written to data_dir/http.port."""
    log_level: str = Field(default="info", pattern=r"(?i)^(debug|info|warning|error)$")

    max_body_bytes: int = Field(default=12 * MiB, ge=KiB, le=15 * MiB)
    """Largest picture taken. Above 15 MiB it would not fit a gRPC message when the cloud asks for it."""
    max_pixels: int = Field(default=50_000_000, ge=1, le=1 << 26)
    max_cameras: int = Field(default=256, ge=1, le=10_000)
    """Cameras with an operating point and metric labels of their own; later ones share the label `other`."""

    encode_workers: int = Field(default=2, ge=1, le=64)
    encode_queue: int = Field(default=32, ge=1, le=4096)
    """Frames between the first byte received and the spool; more are answered 429."""
    body_bytes_in_hand: int = Field(default=48 * MiB, ge=MiB)
    """Bytes of those frames together; more are answered 429. At least one largest picture, as multipart."""
    ort_threads: int = Field(default=1, ge=1, le=64)
    mode: Mode | Literal["auto"] = Mode.SPLIT
    """Where the network runs: `split`, `image` (all of it in the cloud), `edge` (all of it here), or `auto`."""
    quality: Annotated[int, Field(ge=0, le=65535)] | Literal["auto"] = "auto"
    """A quality of the mode's scale, or `auto`: the bundle's default, and less while the link carries less."""
    codec: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "auto"
    """The name of a bundle that the cloud holds, or `auto`: the one it says."""
    shadow: int = Field(default=0, ge=0, le=1_000_000)
    """One frame in so many is also sent as a picture, for the cloud to check its result by. 0: none."""
    enhance: Literal["asked", "idle"] = "asked"
    """When enhancements are coded: when somebody asks for pixels; or, with `idle`, of the newest frames also while the
    edge has nothing else to do."""
    temporal: Literal["on", "off"] = "on"
    """Whether frames of mode `split` are coded after an earlier one of their camera that the cloud has acked, where the
    bundle's codec and the cloud can. Without a ring (`ring_max_bytes`) they are not: they could not be coded again."""
    keyframes: int = Field(default=100, ge=0, le=1_000_000)
    """One frame of a camera in so many is coded alone even so. 0: only where there is nothing to code it after."""
    references_max_bytes: int = Field(default=32 * MiB, ge=MiB)
    """What is held of frames for those that are coded after them; 43 kB of one of the embedded detector. When it is
    full, cameras that code nothing give way, and of the others fewer frames become references."""
    max_streams: int = Field(default=16, ge=0, le=256)
    """Of POST /v1/streams. Each is a thread, a decoder, and up to three decoded frames beside the decoder's own."""
    streams_dir: Path | None = None
    """A folder whose videos may be played as streams. None: no file may, because whoever posts streams would read this
    machine's disk with them."""
    frame_max_age_ms: int = Field(default=0, ge=0, le=2**31 - 1)
    """Frames older than this, counted from capture, are not worth sending. 0: all are."""

    spool_max_bytes: int = Field(default=2 * GiB, ge=64 * KiB)
    """Waiting coded frames, each counted with 512 bytes beside its payload, and kept pictures together. Pictures give
    way to frames. The database may take up to twice this on disk, with its log and the pages it is about to give back;
    lines of finished frames (ledger_max_rows, some 300 bytes each) come on top."""
    spool_max_age_s: float = Field(default=7 * 86400, gt=0)
    """A frame that has waited so long is dropped, unless it may have reached the cloud. Time the edge was off does not
    count, nor does setting the clock."""
    ring_max_bytes: int = Field(default=1 * GiB, ge=0)
    """Pictures kept for pixels on demand, with their frames as coded, and enhancements that were coded. 0: none."""
    ring_max_age_s: float = Field(default=3600, gt=0)
    ledger_max_rows: int = Field(default=100_000, ge=100)
    """Finished frames whose fate can still be asked for."""
    unknown_bundle_seconds: float = Field(default=600, ge=0)
    """How long a frame whose bundle the cloud does not hold stops those behind it; then such frames fail."""
    drain_seconds: float = Field(default=10, ge=0, le=3600)
    """How long a stopping edge goes on sending what is in the spool."""

    def __init__(self, **values: Any) -> None:
        """Raise SettingsError naming the variable and what is wrong with it."""
        _refuse_unknown(set(type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as e:
            raise SettingsError(_sentence(e)) from e

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.body_bytes_in_hand < self.max_body_bytes + ENVELOPE_BYTES:
            raise ValueError(f"body_bytes_in_hand must be at least max_body_bytes and {ENVELOPE_BYTES} more")
        if self.mode == "auto" and self.quality != "auto":
            raise ValueError("quality must be auto where mode is: each mode has its own scale")
        return self

    def require_source(self) -> None:
        """Raise SettingsError unless there is some way to a bundle."""
        if self.cloud is None and self.bundle is None:
            raise SettingsError("nothing to run: set MIDSTREAM_CLOUD=host:port, or MIDSTREAM_EDGE_BUNDLE=folder")


def load(**values: Any) -> Settings:
    """Settings with which an edge can run. Raises SettingsError if one is missing or out of range."""
    settings = Settings(**values)
    settings.require_source()
    return settings


def _refuse_unknown(fields: set[str]) -> None:
    # A misspelt variable that is silently ignored costs somebody an evening. _URL is the command line's.
    known = {PREFIX + name.upper() for name in fields - {"cloud"}}
    unknown = sorted(n for n in os.environ if n.startswith(PREFIX) and n not in known and n != f"{PREFIX}URL")
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _sentence(error: ValidationError) -> str:
    lines = []
    for e in error.errors():
        name = str(e["loc"][0]).upper() if e["loc"] else ""
        variable = "MIDSTREAM_CLOUD" if name in ("CLOUD", "MIDSTREAM_CLOUD") else f"{PREFIX}{name}"
        lines.append(f"{variable if name else 'settings'}: {e['msg']} (got {e['input']!r})" if name else e["msg"])
    return "; ".join(lines)
