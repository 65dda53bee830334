"""Regions of pictures: what they cost in bytes and in time, and whether they show what the whole picture shows there.

`areas` codes pictures and cuts regions out, `served` asks two real services for some, `report`, `plot` and `document`
show both. `run` puts them together.
"""
