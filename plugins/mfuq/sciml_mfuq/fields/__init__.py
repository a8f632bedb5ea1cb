"""Outputs that are fields: modes, and the pressure on an aerofoil."""
