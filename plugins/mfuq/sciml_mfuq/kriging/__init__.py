"""Gaussian processes: of the truth alone, recursive co-kriging, nonlinear auto-regression, and what they share."""
