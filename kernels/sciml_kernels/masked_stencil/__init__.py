"""The matrix-free operator of a Poisson equation on a masked grid."""
from sciml_kernels.multigrid_cycle.reference import apply_stencil
def masked_stencil(pressure, faces, diagonal): return apply_stencil(faces, diagonal, pressure)
