"""What an operator may set, from MIDSTREAM_CLOUD_* variables. The only file of the cloud that reads the environment."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import SettingsError
from common.tracking import FAINT, SURE

PREFIX = "MIDSTREAM_CLOUD_"
_FOREIGN = {PREFIX + "URL"}  # where the command line finds a cloud
PACKAGED_BUNDLES = Path(__file__).parent / "bundles"
Port = Annotated[int, Field(ge=0, le=65535)]


_BELOW_DATA_DIR = "sqlite:///"


def _database(url: str) -> str:
    from cloud.store.engine import check  # loads SQLAlchemy, which the default does not need yet

    if url != _BELOW_DATA_DIR:
        check(url)
    return url


class Settings(BaseSettings):
    """Defaults run on one machine without any configuration."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    data_dir: Path = Path("data/cloud")
    http_host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_host: str = "127.0.0.1"
    grpc_port: Port = 50051
    """0 takes any free port; data_dir/http.port and data_dir/grpc.port say which."""
    database: Annotated[str, AfterValidator(_database)] = _BELOW_DATA_DIR
    """A URL of SQLite or PostgreSQL; without a path: results.db below data_dir. With `?command_timeout=300` a statement
    may take PostgreSQL so many seconds, instead of 60, before it counts as silent."""
    bundles_dir: Path = PACKAGED_BUNDLES
    """Where the bundle that edges are told to use is; the packaged ones are held too, for frames still under way."""
    bundle: str = ""
    """Digest, prefix of a digest or name of the bundle that edges are told to use."""
    window: int = Field(default=32, ge=1, le=4096)
    """Packets an edge may have in flight."""
    batch_max: int = Field(default=8, ge=1, le=64)
    batch_wait_ms: float = Field(default=2, ge=0, le=1000)
    queue_max: int = Field(default=256, ge=1, le=65536)
    """Frames of all edges waiting for the engine or the database; beyond it, streams are read no further."""
    references_max_bytes: int = Field(default=1 << 26, ge=1 << 20)
    """What is held of all cameras' frames for those coded after them, five minutes at most; 43 kB of one of the
    embedded detector. The oldest give way: frames that refer to them are sent again, coded alone."""
    back_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=64)
    """Frames of a batch that run at once, each on one core. Default: one for each core."""
    pictures_max_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Of originals that somebody asked for; the oldest give way."""
    layers_max_bytes: int = Field(default=1 << 28, ge=1 << 20)
    """Of the coded layers of recent frames, of which pictures can be made; the oldest give way."""
    layers_max_age_s: float = Field(default=86400, ge=0, le=1e10)
    """Layers kept longer ago are deleted; 0 keeps them as long as there is room. Results stay."""
    results_max_age_s: float = Field(default=0, ge=0, le=1e10)
    """Results stored longer ago are deleted, with their pictures; 0 keeps them for ever. The newest one stays.
    Deleted ones are counted in midstream_dropped_total{reason="results aged out"}. No packet is stored twice, even if
    it is sent again after its result was deleted. A camera's sums are of all it ever sent."""
    min_stored_score: float = Field(default=0.05, ge=0, le=1)
    track_score: float = Field(default=SURE, ge=FAINT, le=1)
    """Detections from this score begin tracks. Higher for a detector that is often sure of what is not there."""
    edge_rate: int = Field(default=0, ge=0, le=2**40)
    """Bytes a second that each edge is asked to send at most; edges with room to choose send fewer. 0: no limit."""
    drain_seconds: float = Field(default=20, ge=0, le=600)
    log_level: str = Field(default="INFO", pattern="^(?i:debug|info|warning|error)$")

    def __init__(self, **values: Any) -> None:
        """Raise SettingsError naming the variable and what is wrong with it."""
        try:
            super().__init__(**values)
        except ValidationError as e:
            raise SettingsError("; ".join(_sentence(error["loc"], error["msg"]) for error in e.errors())) from e

    @property
    def database_url(self) -> str:
        """`database`, or results.db below data_dir if that names no file."""
        own = f"{_BELOW_DATA_DIR}{self.data_dir.absolute() / 'results.db'}"
        return own if self.database == _BELOW_DATA_DIR else self.database


def load() -> Settings:
    """The settings of the environment. A misspelt variable is an error too: ignored, it costs somebody an evening."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known | _FOREIGN)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return Settings()


def _sentence(loc: tuple[int | str, ...], message: str) -> str:
    name = PREFIX + str(loc[0]).upper() if loc else "the settings"
    return f"{name}: {message}"
