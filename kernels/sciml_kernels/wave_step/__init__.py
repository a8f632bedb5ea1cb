"""Steps of the wave equation on spectral elements, for a batch of sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.backend import choose
from sciml_kernels.by_reference import differentiate
from sciml_kernels.checks import check_alike, check_rank, check_shape
from sciml_kernels.pattern import define, resolve
from sciml_kernels.wave_step.in_place import Medium, PreparedSteps, TorchSteps
from sciml_kernels.wave_step.layout import block_shapes, count_entries, count_nodes, seam_list
from sciml_kernels.wave_step.reference import reference

LAUNCHERS = {
    "torch": "sciml_kernels.wave_step.in_place:launch",
    "triton": "sciml_kernels.wave_step.triton_kernel:launch",
}


def wave_step(
    state: Tensor,
    operators: Tensor,
    drift: Tensor,
    decay: Tensor,
    share: Tensor,
    blocks: Sequence[int],
    seams: Sequence[int],
    n_step: int = 1,
) -> Tensor:
    """Advance pressures and velocities of all sources by steps of a fourth-order splitting of the wave equation.

    ``p += phi v;  v *= e;  h = J(p + X1 p + p Y1);  v = J(v + X2 h + h Y2)`` for every block of nodes (n_x, n_y), where
    J replaces the two values on a seam by ``left share + right (1 - share)``. With ``X1 + Y1 = -dt^2 A / 12`` and
    ``X2 + Y2 = -dt A`` this is a drift and a kick by the modified potential of ``p_tt + B p_t + A p = 0``; walls enter
    by ``e = exp(-B dt)`` and ``phi = (1 - e) / B``.

    Parameters
    ----------
    state : (2, entry)
        Pressure and velocity; the blocks one after another, each in C order of (n_x, source, n_y).
    operators : (2, matrix entry)
        Matrices of the inner and of the outer product; for each block X (n_x, n_x), then Y (n_y, n_y), which acts from
        the right: the transpose of the matrix along y.
    drift : (node,) or (1,)
        Phi of the nodes, s, the blocks one after another, each in C order of (n_x, n_y); one value where all are alike.
    decay : (node,), (1,) or (0,)
        Factor e of the velocity; none where nothing is damped.
    share : (seam node,)
        Weight of the left block's value on every seam, one after another.
    blocks : 2 entries for each block
        n_x and n_y; rooms of one axis have n_y = 1.
    seams : 5 entries for each seam
        Left block, right block, first shared node in the last column of the left block, the same in the first column
        of the right block, and how many nodes are shared. No node lies on two seams.
    n_step
        At least 1; many steps in a call make the price of a call small.

    Returns
    -------
    (3, entry)
        Pressure, velocity, and velocity before the last kick, of the inputs' type; computed in float32 for float16 and
        bfloat16.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order;
    linear in the state; n steps in one call are n calls of one step to the bit. What is advanced often is made ready
    once by `prepare`.

    *Source*: Takahashi and Imada, J. Phys. Soc. Jpn. 53 (1984), for the modified potential; Patera, J. Comput. Phys. 54
    (1984), for the elements. *Departures*: the drift carries the damping exactly.

    Examples
    --------
    >>> state = torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # one node, two sources: an oscillator with dt^2 A = 6
    >>> operators = torch.tensor([[-0.5, 0.0], [-6.0, 0.0]])
    >>> one, none = torch.ones(1), torch.ones(0)
    >>> wave_step(state, operators, one, none, none, (1, 1), ()).tolist()
    [[1.0, 0.0], [-3.0, 0.0], [0.0, 0.0]]
    """
    blocks, seams = tuple(blocks), tuple(seams)
    if n_step < 1:
        raise ValueError(f"wave_step: expected n_step of at least 1, got {n_step}; raise it")
    _check_rooms(blocks, seams)
    _check_tensors(state, Medium(operators, drift, decay, share, blocks, seams))
    return torch.ops.sciml.wave_step(state, operators, drift, decay, share, blocks, seams, n_step)


def prepare(state: Tensor, medium: Medium) -> PreparedSteps:
    """Return the steps of `wave_step` made ready for many calls, whose price is then that of the steps alone.

    Parameters
    ----------
    state : (2, entry)
        Pressure and velocity to start from, copied.
    medium
        The other arguments of `wave_step`, all but the number of steps.

    Examples
    --------
    >>> one, none = torch.ones(1), torch.ones(0)
    >>> medium = Medium(torch.tensor([[-0.5, 0.0], [-6.0, 0.0]]), one, none, none, (1, 1), ())
    >>> steps = prepare(torch.tensor([[1.0], [0.0]]), medium)
    >>> steps.advance(2)
    >>> steps.pressure.flat, steps.velocity.flat
    (tensor([-2.]), tensor([3.]))
    """
    _check_rooms(medium.blocks, medium.seams)
    _check_tensors(state, medium)
    chosen = choose(LAUNCHERS, state.device.type)
    kind = resolve("sciml_kernels.wave_step.triton_kernel:TritonSteps") if chosen == "triton" else TorchSteps
    return PreparedSteps(kind, state, medium)


def _check_rooms(blocks: Sequence[int], seams: Sequence[int]) -> None:
    where = "wave_step"
    if not blocks or len(blocks) % 2 or min(blocks) < 1:
        raise ValueError(f"{where}: expected n_x and n_y of at least 1 for each block, got {list(blocks)}; add some")
    if len(seams) % 5:
        raise ValueError(f"{where}: expected five entries for each seam, got {len(seams)} in all; add some")
    shapes = block_shapes(blocks)
    taken: set[tuple[int, int, int]] = set()
    for number, seam in enumerate(seam_list(seams)):
        if not (0 <= seam.left < len(shapes) and 0 <= seam.right < len(shapes)):
            got = f"{seam.left} and {seam.right}"
            raise ValueError(
                f"{where}: expected blocks of seam {number} from 0 to {len(shapes) - 1}, got {got}; number them again"
            )
        ends = (seam.left, shapes[seam.left][0] - 1, seam.left_start), (seam.right, 0, seam.right_start)
        for block, column, start in ends:
            stop, n_y = start + seam.n_node, shapes[block][1]
            if not 0 <= start < stop <= n_y:
                raise ValueError(
                    f"{where}: expected nodes of seam {number} from 0 to {n_y - 1} in block {block}, got {start} to "
                    f"{stop - 1}; shorten the seam"
                )
            nodes = {(block, column, node) for node in range(start, stop)}
            if taken & nodes:
                raise ValueError(
                    f"{where}: expected seams that share no node, got {min(taken & nodes)} (block, column, node) again "
                    f"in seam {number}; leave one out"
                )
            taken |= nodes


def _check_tensors(state: Tensor, medium: Medium) -> None:
    where = "wave_step"
    operators, drift, decay, share, blocks, seams = medium
    tensors = {"state": state, "operators": operators, "drift": drift, "decay": decay, "share": share}
    check_alike(where, tensors)
    check_rank(where, "state", state, ("2", "entry"))
    n_node = count_nodes(blocks)
    n_entry = state.shape[1] // n_node * n_node
    if tuple(state.shape) != (2, n_entry):
        raise ValueError(
            f"{where}: expected state of shape (2, sources times {n_node} nodes), got {tuple(state.shape)}; reshape it"
        )
    check_shape(where, "operators", operators, {"2": 2, "matrix entry": count_entries(blocks)})
    if tuple(drift.shape) != (1,):
        check_shape(where, "drift", drift, {"node": n_node})
    if tuple(decay.shape) not in ((0,), (1,)):
        check_shape(where, "decay", decay, {"node": n_node})
    check_shape(where, "share", share, {"seam node": sum(seam.n_node for seam in seam_list(seams))})


def _fake(state: Tensor, *_others: Any) -> Tensor:
    return state.new_empty((3, state.shape[1]))


_TENSORS = "Tensor state, Tensor operators, Tensor drift, Tensor decay, Tensor share"
_SIGNATURE = f"wave_step({_TENSORS}, int[] blocks, int[] seams, int n_step)"
_op = define(f"{_SIGNATURE} -> Tensor", reference, _fake, LAUNCHERS)
backward_reference = differentiate(_op, _SIGNATURE, reference, 5)
