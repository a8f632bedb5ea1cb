"""Calling surrogates from simulation codes: C, Fortran, ONNX, UM-Bridge, SciPy, PETSc, preCICE, FMI, Dask."""
