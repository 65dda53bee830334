"""Masks beside bytes: what the mask layer of a bundle adds to its base layer, on photos whose masks nothing has seen.

`labels` are those photos and their classes, `score` is intersection over union, `coding` makes masks of coded and of
uncoded features, `rows` measures them, `report`, `plot` and `document` show them. `run` puts them together.
"""
