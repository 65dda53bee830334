"""Results and pictures in SQLite or PostgreSQL. The only package of the cloud that speaks SQL."""

from cloud.store.query import Filters
from cloud.store.record import Camera, Found, Inserted, Picture, Point, Record, Rule, Track, to_json
from cloud.store.store import Store, StoreError

__all__ = [
    "Camera",
    "Filters",
    "Found",
    "Inserted",
    "Picture",
    "Point",
    "Record",
    "Rule",
    "Store",
    "StoreError",
    "Track",
    "to_json",
]
