"""Unbiased estimates of a mean over several fidelities, and their trials."""
