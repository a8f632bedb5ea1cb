"""Which run to buy next, and its race against hypercubes."""
