"""Tracks through pictures: the study of what coding does to them."""
