"""Fishery control: stock models, harvest policies of every family, and the true optimum where it can be computed."""
