"""Networks of the cheap level with a process on the rest, the published composite network, and ensembles."""
