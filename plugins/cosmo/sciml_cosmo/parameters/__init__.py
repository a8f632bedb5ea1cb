"""From point clouds to cosmological parameters."""
