"""Anybody's detector as a bundle: `build` puts the parts together, each of which is a file here."""
