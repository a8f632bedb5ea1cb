"""The step in Triton: a pass for the drift, one for each of the two products, and one for the seams after each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.triton_tools import accumulator, require_launchable
from sciml_kernels.wave_step.in_place import Field, Medium, march
from sciml_kernels.wave_step.layout import block_shapes, seam_list

# Not tuned: a step changes its arguments, so that running it twice gives something else.
BLOCK, TILE = 512, 32
BLOCK_ROW = tl.constexpr(5)  # entries of a block in its table


@triton.jit(do_not_specialize=("n_source",))
def drift_kernel(
    p: tl.tensor, v: tl.tensor, drift: tl.tensor, decay: tl.tensor, table: tl.tensor, n_source: tl.tensor,
    ONE_DRIFT: tl.constexpr, N_DECAY: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Add phi v to p and damp v, in a run of one block of nodes; N_DECAY: 0, 1, or 2 for a factor of each node."""
    row = table + tl.program_id(1) * BLOCK_ROW
    n_x, n_y, first = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    entry = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = entry < n_x * n_source * n_y
    node = first + entry // (n_source * n_y) * n_y + entry % n_y
    own = first * n_source + entry
    velocity = tl.load(v + own, mask=inside, other=0)
    phi = tl.load(drift) if ONE_DRIFT else tl.load(drift + node, mask=inside, other=0)
    tl.store(p + own, tl.load(p + own, mask=inside, other=0) + velocity * phi, mask=inside)
    if N_DECAY > 0:
        factor = tl.load(decay) if N_DECAY == 1 else tl.load(decay + node, mask=inside, other=0)
        tl.store(v + own, velocity * factor, mask=inside)


@triton.jit(do_not_specialize=("n_source", "n_tile_y"))
def product_kernel(
    out: tl.tensor, start: tl.tensor, u: tl.tensor, operators: tl.tensor, table: tl.tensor, n_source: tl.tensor,
    n_tile_y: tl.tensor, ACC: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Store start + X u + u Y in a tile of one source in one block; out may be start, and is not u."""
    row = table + tl.program_id(1) * BLOCK_ROW
    n_x, n_y, first = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    along_x, along_y = operators + tl.load(row + 3), operators + tl.load(row + 4)
    # Sources run fastest: their programs read the same matrices, which meet in the cache.
    s, tile = (tl.program_id(0) % n_source).to(tl.int64), tl.program_id(0) // n_source
    i = (tile // n_tile_y).to(tl.int64) * TILE + tl.arange(0, TILE)
    j = (tile % n_tile_y).to(tl.int64) * TILE + tl.arange(0, TILE)
    inside = (i[:, None] < n_x) & (j[None, :] < n_y)
    corner, stride = first * n_source + s * n_y, n_source * n_y
    own = corner + i[:, None] * stride + j[None, :]
    total = tl.load(start + own, mask=inside, other=0)
    # A tile beyond this block, which is smaller than the largest, has nothing to sum.
    some = (tile // n_tile_y * TILE < n_x) & (tile % n_tile_y * TILE < n_y)
    for low in range(0, tl.where(some, n_x, 0), TILE):
        k = low + tl.arange(0, TILE).to(tl.int64)
        matrix = tl.load(along_x + i[:, None] * n_x + k[None, :], mask=(i[:, None] < n_x) & (k[None, :] < n_x), other=0)
        field = tl.load(
            u + corner + k[:, None] * stride + j[None, :], mask=(k[:, None] < n_x) & (j[None, :] < n_y), other=0
        )
        total += tl.dot(matrix, field, input_precision="ieee", out_dtype=ACC)
    for low in range(0, tl.where(some, n_y, 0), TILE):
        k = low + tl.arange(0, TILE).to(tl.int64)
        field = tl.load(
            u + corner + i[:, None] * stride + k[None, :], mask=(i[:, None] < n_x) & (k[None, :] < n_y), other=0
        )
        matrix = tl.load(along_y + k[:, None] * n_y + j[None, :], mask=(k[:, None] < n_y) & (j[None, :] < n_y), other=0)
        total += tl.dot(field, matrix, input_precision="ieee", out_dtype=ACC)
    tl.store(out + own, total, mask=inside)


@triton.jit(do_not_specialize=("n_source", "n_seam_node"))
def seam_kernel(
    field: tl.tensor, table: tl.tensor, share: tl.tensor, n_source: tl.tensor, n_seam_node: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Replace both values of every seam node by their mean with the weight share; table: offset and stride of each."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_seam_node * n_source.to(tl.int64)
    node, s = at % n_seam_node, at // n_seam_node
    row = table + node * 4
    left = tl.load(row, mask=inside, other=0) + s * tl.load(row + 1, mask=inside, other=0)
    right = tl.load(row + 2, mask=inside, other=0) + s * tl.load(row + 3, mask=inside, other=0)
    weight = tl.load(share + node, mask=inside, other=0)
    a, b = tl.load(field + left, mask=inside, other=0), tl.load(field + right, mask=inside, other=0)
    joined = b + weight * (a - b)
    tl.store(field + left, joined, mask=inside)
    tl.store(field + right, joined, mask=inside)


def launch(
    state: Tensor,
    operators: Tensor,
    drift: Tensor,
    decay: Tensor,
    share: Tensor,
    blocks: Sequence[int],
    seams: Sequence[int],
    n_step: int,
) -> Tensor:
    """Return what the reference returns; half types are computed in float32, as there."""
    return march(TritonSteps, state, Medium(operators, drift, decay, share, blocks, seams), n_step)


class TritonSteps:
    """The launches of a step: tables of blocks and seams on the device, and grids that cover the largest block."""

    def __init__(self, medium: Medium, n_source: int) -> None:
        require_launchable("wave_step", product_kernel, medium.operators)
        self.medium, self.n_source = medium, n_source
        shapes, device = block_shapes(medium.blocks), medium.operators.device
        rows: list[list[int]] = []
        first = entry = 0
        for n_x, n_y in shapes:
            rows.append([n_x, n_y, first, entry, entry + n_x * n_x])
            first, entry = first + n_x * n_y, entry + n_x * n_x + n_y * n_y
        self.blocks = torch.tensor(rows, dtype=torch.int64, device=device)
        self.seams = self._seam_table(rows).to(device)
        self.n_tile_y = triton.cdiv(max(n_y for _, n_y in shapes), TILE)
        self.n_tile = self.n_tile_y * triton.cdiv(max(n_x for n_x, _ in shapes), TILE)
        self.n_run = triton.cdiv(max(n_x * n_y for n_x, n_y in shapes) * n_source, BLOCK)

    def _seam_table(self, rows: list[list[int]]) -> Tensor:
        table: list[list[int]] = []
        for seam in seam_list(self.medium.seams):
            (n_x, n_left, left), (_, n_right, right) = rows[seam.left][:3], rows[seam.right][:3]
            last = (left + (n_x - 1) * n_left) * self.n_source + seam.left_start
            begin = right * self.n_source + seam.right_start
            table += [[last + k, n_left, begin + k, n_right] for k in range(seam.n_node)]
        return torch.tensor(table, dtype=torch.int64).view(-1, 4)

    def drift(self, pressure: Field, velocity: Field) -> None:
        """Do ``p += phi v;  v *= e`` in place."""
        phi, factor = self.medium.drift, self.medium.decay
        drift_kernel[(self.n_run, len(self.blocks))](
            pressure.flat, velocity.flat, phi, factor, self.blocks, self.n_source,
            ONE_DRIFT=len(phi) == 1, N_DECAY=min(len(factor), 2), BLOCK=BLOCK,
        )  # fmt: skip

    def add_product(self, out: Field, start: Field, source: Field, which: int) -> None:
        """Store ``J(start + X source + source Y)``, the seams in a pass of their own."""
        product_kernel[(self.n_source * self.n_tile, len(self.blocks))](
            out.flat, start.flat, source.flat, self.medium.operators[which], self.blocks, self.n_source, self.n_tile_y,
            ACC=accumulator(out.flat.dtype), TILE=TILE,
        )  # fmt: skip
        if len(self.seams):
            seam_kernel[(triton.cdiv(len(self.seams) * self.n_source, BLOCK),)](
                out.flat, self.seams, self.medium.share, self.n_source, len(self.seams), BLOCK=BLOCK
            )
