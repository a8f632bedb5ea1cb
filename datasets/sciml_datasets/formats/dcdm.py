"""Binary matrices, right-hand sides and cell flags, as the released data of DCDM and MLPCG hold them.

Little-endian numbers without padding:

- a matrix: int32 rows, columns, n, outer, inner; n values (float32 or float64); `outer` int32 starts of the rows,
  without the closing n (Eigen: outer = rows) or with it (outer = rows + 1); n int32 columns.
- a right-hand side or any vector: its length as uint64, then float64 values.
- flags: their number as uint64, then int32 codes: up to 1 solid, 2 fluid, 3 air; one for each cell, in C order.

These are no labelled datasets with units, so they are plain functions and no entry of `FORMATS`.

Source: A. Kaneda et al., ICML 2023, and K. Lan et al., ICML 2024, the released readers and writers.
Departures: a file must have exactly the length that its head announces; starts and columns are checked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sciml.artifact import atomic_file
from sciml_datasets.formats._h5compact import refuse

HEAD = ("rows", "columns", "entries", "outer", "inner")
SOLID, FLUID, AIR = 1, 2, 3  # of the files; in memory they are one less, as in cells of the solvers
Precision = Literal["float32", "float64"]


def read_matrix(path: str | Path) -> sparse.csr_matrix:
    """Return the matrix of a file, float64; its values may be stored in single or double precision.

    Contract: `write_matrix` of what was read, in the precision of the file, gives the same matrix to the bit. Rows
    that Eigen stored as columns read as the transposed matrix, which for these symmetric ones is the same.
    """
    content = _content(path)
    n_head = 4 * len(HEAD)
    if len(content) < n_head:
        raise refuse(path, f"a head of {n_head} bytes", f"{len(content)} bytes", "copy the file again")
    rows, columns, n, outer, _ = (int(number) for number in np.frombuffer(content, "<i4", len(HEAD)))
    if min(rows, columns) < 1 or n < 0 or outer not in (rows, rows + 1):
        got = f"{rows} rows, {columns} columns, {n} entries and {outer} starts"
        raise refuse(path, "a matrix head with as many row starts as rows, or one more", got, "is this a matrix file?")
    lengths = {n_head + 4 * (outer + n) + size * n: size for size in (4, 8)}
    if len(content) not in lengths:
        expected = " or ".join(f"{length:,}" for length in lengths)
        got = f"{len(content):,}"
        raise refuse(path, f"{expected} bytes for {n} entries (float32 or float64)", got, "copy the file again")
    size = lengths[len(content)]
    values = np.frombuffer(content, f"<f{size}", n, n_head).astype(np.float64)
    starts = np.frombuffer(content, "<i4", outer, n_head + size * n)
    places = np.frombuffer(content, "<i4", n, n_head + size * n + 4 * outer)
    pointers = np.append(starts[:rows], n)
    if pointers[0] != 0 or (np.diff(pointers) < 0).any() or (starts[rows:] != n).any():
        do = "is the file of this layout, little-endian?"
        raise refuse(path, f"row starts that rise from 0 to {n}", np.array2string(pointers, threshold=6), do)
    if n and not (places.min() >= 0 and places.max() < columns):
        got = f"{places.min()} to {places.max()}"
        raise refuse(path, f"columns from 0 to {columns - 1}", got, "is the file of this layout, little-endian?")
    if not np.isfinite(values).all():
        raise refuse(path, "finite values", "NaN or infinity", "generate the file again")
    matrix = sparse.csr_matrix((values, places.astype(np.int32), pointers.astype(np.int32)), (rows, columns))
    matrix.sort_indices()
    return matrix


def write_matrix(matrix: sparse.spmatrix, path: str | Path, *, precision: Precision = "float32") -> None:
    """Write a matrix in the layout of Eigen: row starts without the closing one."""
    csr = sparse.csr_matrix(matrix, copy=True)
    csr.sum_duplicates()
    csr.sort_indices()
    if max(*csr.shape, csr.nnz) > np.iinfo(np.int32).max:
        raise refuse("write_matrix", "sizes below 2^31, as stored", f"{csr.shape} and {csr.nnz} entries", "split it")
    with np.errstate(over="ignore"):
        values = csr.data.astype(np.dtype(precision).newbyteorder("<"))
    if not np.isfinite(values).all():
        raise refuse("write_matrix", f"finite values in {precision}", "NaN or infinity", "scale or repair the matrix")
    head = np.array([*csr.shape, csr.nnz, csr.shape[0], csr.shape[1]])
    with atomic_file(Path(path)) as temporary:
        temporary.write_bytes(_int32(head) + values.tobytes() + _int32(csr.indptr[:-1]) + _int32(csr.indices))


def read_rhs(path: str | Path) -> NDArray[np.float64]:
    """Return the vector (unknown) of a file, float64; divergence of a velocity, pressure or any other."""
    values = _counted(path, "<f8").astype(np.float64)
    if not np.isfinite(values).all():
        raise refuse(path, "finite values", "NaN or infinity", "generate the file again")
    return values


def write_rhs(vector: NDArray[np.floating], path: str | Path) -> None:
    """Write a vector (unknown), float64; `read_rhs` gives it back to the bit."""
    _write_counted(np.asarray(vector), "<f8", path)


def read_flags(path: str | Path, shape: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Return cells of codes 0 solid, 1 fluid, 2 air, of the given shape; flat without one."""
    codes = _counted(path, "<i4")
    if len(codes) and not (codes.min() >= 0 and codes.max() <= AIR):
        got = f"{codes.min()} to {codes.max()}"
        raise refuse(path, f"flags of {SOLID} (solid), {FLUID} (fluid) and {AIR} (air)", got, "recode the cells")
    shape = (len(codes),) if shape is None else tuple(shape)
    if math.prod(shape) != len(codes):
        raise refuse(path, f"{math.prod(shape)} flags for the shape {shape}", str(len(codes)), "give the right shape")
    return np.maximum(codes - 1, 0).astype(np.uint8).reshape(shape)


def write_flags(cells: NDArray[np.uint8], path: str | Path) -> None:
    """Write cells of codes 0 solid, 1 fluid, 2 air; `read_flags` gives them back."""
    cells = np.asarray(cells)
    if cells.dtype.kind not in "iu" or (cells.size and not (cells.min() >= 0 and cells.max() < AIR)):
        got = f"{cells.dtype} up to {cells.max(initial=0)}"
        raise refuse("write_flags", "integers 0 (solid), 1 (fluid) and 2 (air)", got, "recode the cells")
    _write_counted(cells.astype(np.int32) + 1, "<i4", path)


def _counted(path: str | Path, kind: str) -> NDArray:
    content, size = _content(path), np.dtype(kind).itemsize
    if len(content) < 8:
        raise refuse(path, "a length of 8 bytes", f"{len(content)} bytes", "copy the file again")
    n = int(np.frombuffer(content, "<u8", 1)[0])
    if len(content) != 8 + size * n:
        expected = f"{n:,} numbers of {size} bytes after the length"
        raise refuse(path, expected, f"{len(content) - 8:,} bytes", "copy the file again, or is it another kind?")
    return np.frombuffer(content, kind, n, 8)


def _write_counted(values: NDArray, kind: str, path: str | Path) -> None:
    with atomic_file(Path(path)) as temporary:
        temporary.write_bytes(np.array(values.size, "<u8").tobytes() + values.astype(kind).tobytes())


def _content(path: str | Path) -> bytes:
    if not Path(path).is_file():
        raise refuse(path, "a file", "none there", "check the path")
    return Path(path).read_bytes()


def _int32(numbers: NDArray) -> bytes:
    return numbers.astype("<i4").tobytes()
