"""Merger trees: transforms, and networks that read cosmology and lost mergers from them."""
