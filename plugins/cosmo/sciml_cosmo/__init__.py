"""CosmoBench: haloes, galaxies and merger trees in; cosmological parameters, velocities and lost mergers out."""
