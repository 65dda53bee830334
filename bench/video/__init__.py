"""`midstream bench video`: bytes against what a detector finds, of frames that follow one another.

Features coded alone and after earlier frames, beside pictures coded by JPEG and, each frame after the last, by x265 and
AV1 without delay. Clips from a camera that stands still are told apart from those of one that moves.
"""
