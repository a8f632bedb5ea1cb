"""Linear solvers for pressure-like Poisson problems: multigrid, learned cycles, learned conjugate directions."""
