"""From positions to peculiar velocities: linear theory, least squares, graph networks."""
