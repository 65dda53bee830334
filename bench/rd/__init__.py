"""Rate and distortion of pictures: the picture layers of bundles beside JPEG, WebP, x265, AV1 and a published curve.

`codecs` and `layered` are the codecs in one form, `rows` measures them by `metrics`, `compare` draws conclusions,
`report`, `plot`, `sheet` and `document` show them, `timing` says what each stage takes. `run` puts them together.
"""
