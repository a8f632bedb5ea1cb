"""Universes made here: boxes of haloes from a particle-mesh code, merger trees from extended Press-Schechter theory."""
