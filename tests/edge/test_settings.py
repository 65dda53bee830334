"""Only good values get in, and the others are named."""

import os
from pathlib import Path

import pytest

from common.errors import SettingsError
from edge.settings import ENVELOPE_BYTES, Settings, edge_id_of, load


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MIDSTREAM_"):
            monkeypatch.delenv(name)


def test_the_clouds_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDSTREAM_CLOUD", "cloud:50051")
    settings = load()
    assert settings.cloud == "cloud:50051" and settings.edge_id is None
    monkeypatch.setenv("MIDSTREAM_EDGE_HTTP_PORT", "0")
    monkeypatch.setenv("MIDSTREAM_EDGE_DATA_DIR", "elsewhere")
    monkeypatch.setenv("MIDSTREAM_EDGE_QUALITY", "")
    assert (load().http_port, load().data_dir, load().quality) == (0, Path("elsewhere"), "auto")


def test_equal_hostnames_are_different_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "edge box " * 10)
    names = [edge_id_of(Settings(), epoch) for epoch in ("0a1b2c3d-rest", "ffffff00-rest")]
    assert names == [f"{('edge-box-' * 10)[:57]}-{six}" for six in ("0a1b2c", "ffffff")]
    assert all(Settings(edge_id=name).edge_id == name for name in names), "an id the cloud takes"
    assert edge_id_of(Settings(edge_id="door"), "0a1b2c3d-rest") == "door"


def test_nothing_to_run() -> None:
    with pytest.raises(SettingsError, match="MIDSTREAM_CLOUD"):
        load()
    assert load(bundle=Path("b")).cloud is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIDSTREAM_CLOUD", "no port"),
        ("MIDSTREAM_CLOUD", "host:"),
        ("MIDSTREAM_EDGE_EDGE_ID", "a b"),
        ("MIDSTREAM_EDGE_FRAME_MAX_AGE_MS", str(2**31)),
        ("MIDSTREAM_EDGE_HTTP_PORT", "99999"),
        ("MIDSTREAM_EDGE_ENCODE_WORKERS", "0"),
        ("MIDSTREAM_EDGE_MAX_BODY_BYTES", "1000000000"),
        ("MIDSTREAM_EDGE_LOG_LEVEL", "loud"),
        ("MIDSTREAM_EDGE_SPOL_MAX_BYTES", "1"),
        ("MIDSTREAM_EDGE_MODE", "cloud"),
        ("MIDSTREAM_EDGE_QUALITY", "best"),
        ("MIDSTREAM_EDGE_QUALITY", "-1"),
        ("MIDSTREAM_EDGE_SHADOW", "-1"),
        ("MIDSTREAM_EDGE_SPOOL_MAX_AGE_S", "inf"),
        ("MIDSTREAM_EDGE_UNKNOWN_BUNDLE_SECONDS", "nan"),
    ],
)
def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("MIDSTREAM_CLOUD", "cloud:1")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load()


def test_values_that_contradict_each_other() -> None:
    with pytest.raises(SettingsError, match="body_bytes_in_hand"):
        Settings(max_body_bytes=8 << 20, body_bytes_in_hand=1 << 20)
    with pytest.raises(SettingsError, match="body_bytes_in_hand"):
        Settings(max_body_bytes=1 << 20, body_bytes_in_hand=1 << 20)
    Settings(max_body_bytes=1 << 20, body_bytes_in_hand=(1 << 20) + ENVELOPE_BYTES)
    with pytest.raises(SettingsError, match="its own scale"):
        Settings(mode="auto", quality=4)
    assert (Settings(mode="edge").mode, Settings(mode="split", quality=4).quality) == ("edge", 4)
