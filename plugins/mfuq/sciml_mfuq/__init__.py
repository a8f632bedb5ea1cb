"""Multi-fidelity uncertainty quantification: cheap and costly simulators in, calibrated distributions out."""
