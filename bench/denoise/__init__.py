"""Clean pictures out of noisy ones, in few bytes: the codec `denoise` beside cascades of a denoiser and a codec.

`denoisers` are what others would put before or behind a codec, `cascades` and `joint` are the codecs in one form,
`rows` measures them against the clean picture, `evidence` the layer that gives the noise back, `compare` draws
conclusions, `report`, `plot`, `sheet` and `document` show them. `run` puts them together.
"""
