"""Statistics of point clouds: correlation functions, power spectra, moments of pairs."""
