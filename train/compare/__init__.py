"""Checkpoints beside each other, on pictures none of them has seen: the experiments behind the codecs that ship.

`variable_rate` and `tradeoff` are the experiments, `coded` runs what was trained, `runs` finds it, `report` writes it
down. What ships is measured by `bench rd` and `bench accuracy` on real bytes; checkpoints compared here never become
bundles, and their bits are estimated: those of rounded latents under the float model's probabilities. What ships does
not code rows that are nearly always zero, so a base layer's real bytes are fewer and its features a
little coarser, about as good at equal bytes.
"""
