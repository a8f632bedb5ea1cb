"""Laws of the inputs in; moments, densities, quantiles and sensitivities of the output out."""
