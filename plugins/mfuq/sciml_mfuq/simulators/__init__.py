"""Real programs as operators: XFOIL, NeuralFoil, Nektar++."""
