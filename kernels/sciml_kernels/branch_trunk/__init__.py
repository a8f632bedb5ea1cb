"""The contraction at the end of a DeepONet, fused with the last layer of its trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.branch_trunk.reference import backward_reference, reference
from sciml_kernels.checks import check_alike, check_rank, check_shape
from sciml_kernels.pattern import define

LAUNCHERS = {"triton": "sciml_kernels.branch_trunk.triton_kernel:launch"}
BACKWARD_LAUNCHERS = {"triton": "sciml_kernels.branch_trunk.triton_kernel:launch_backward"}


def branch_trunk(
    branch: Tensor,
    hidden: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    """Combine branch coefficients with trunk functions that are linear in hidden features, one set of weights per time.

    ``out[s,n,t] = sum_k branch[s,k] (sum_h hidden[n,h] weight[t,k,h] + bias[t,k]) + offset[t]``

    Without `weight` the hidden features are the trunk functions themselves and there is one time: with a row of
    `hidden` per query point this is the pointwise DeepONet, ``out[s,q,0] = sum_k branch[s,k] hidden[q,k] +
    offset[0]``, a single matrix product.

    Parameters
    ----------
    branch : (source, basis)
        Coefficients, any unit.
    hidden : (receiver, hidden)
        Features of the receivers, dimensionless; (receiver, basis) without `weight`.
    weight : (time, basis, hidden), optional
        Last layer of the trunk.
    bias : (time, basis), optional
        Bias of that layer.
    offset : (time,), optional
        Added to the output, in its unit.

    Returns
    -------
    (source, receiver, time)
        Of the inputs' type; sums are kept in float32 for float16 and bfloat16.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, all five gradients too, whichever
    kernel runs; differentiable as often as wanted; permuting sources or receivers permutes the output.

    *Source*: Lu, Jin, Pang, Zhang and Karniadakis, Nature Machine Intelligence 3 (2021), equation 2. *Departures*: a
    fixed set of times shares one trunk, whose last layer has an output per basis function and time; the offset may
    differ between times.

    Examples
    --------
    >>> branch, hidden, weight = torch.ones(2, 3), torch.ones(4, 5), torch.ones(6, 3, 5)
    >>> branch_trunk(branch, hidden, weight).shape
    torch.Size([2, 4, 6])
    """
    _check(branch, hidden, weight, bias, offset)
    return torch.ops.sciml.branch_trunk(branch, hidden, weight, bias, offset)


def _check(branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, offset: Tensor | None) -> None:
    where = "branch_trunk"
    check_alike(where, {"branch": branch, "hidden": hidden, "weight": weight, "bias": bias, "offset": offset})
    check_rank(where, "branch", branch, ("source", "basis"))
    check_rank(where, "hidden", hidden, ("receiver", "hidden"))
    n_basis, n_time = branch.shape[1], 1
    if weight is None:
        check_shape(where, "hidden", hidden, {"receiver": hidden.shape[0], "basis": n_basis})
    else:
        check_rank(where, "weight", weight, ("time", "basis", "hidden"))
        n_time = weight.shape[0]
        check_shape(where, "weight", weight, {"time": n_time, "basis": n_basis, "hidden": hidden.shape[1]})
    if bias is not None:
        check_shape(where, "bias", bias, {"time": n_time, "basis": n_basis})
    if offset is not None:
        check_shape(where, "offset", offset, {"time": n_time})


def _fake(branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, offset: Tensor | None) -> Tensor:
    return branch.new_empty(branch.shape[0], hidden.shape[0], 1 if weight is None else weight.shape[0])


def _fake_backward(
    grad: Tensor, branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, needs: Sequence[bool]
) -> tuple[Tensor, ...]:
    return tuple(
        branch.new_empty(tensor.shape if need and tensor is not None else 0)
        for tensor, need in zip((branch, hidden, weight, bias), needs, strict=True)
    )


def _pays(branch: Tensor, hidden: Tensor, weight: Tensor | None, *_others: Any) -> bool:
    """A single matrix product, and anything in float64, is what the vendor's library does best."""
    return weight is not None and branch.dtype != torch.float64


def _pays_backward(_grad: Tensor, *inputs: Any) -> bool:
    return _pays(*inputs)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:4])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    needs = [bool(need) and tensor is not None for need, tensor in zip(ctx.needs_input_grad, inputs, strict=False)]
    found: Sequence[Tensor] = torch.ops.sciml.branch_trunk_backward(grad, *inputs, needs)
    d_offset = grad.sum((0, 1)) if ctx.needs_input_grad[4] else None
    return (*(tensor if need else None for tensor, need in zip(found, needs, strict=True)), d_offset)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.needs = inputs[5]


def _backward_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the plain torch gradients once more: second order is rare, so it has no kernel of its own."""
    saved = ctx.saved_tensors
    wanted = [i for i, tensor in enumerate(saved) if tensor is not None and ctx.needs_input_grad[i]]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views cut the graph: an input computed from another one must not receive that one's share as well.
        inputs = [None if tensor is None else tensor.view_as(tensor) for tensor in saved]
        outputs = backward_reference(*inputs, ctx.needs)  # type: ignore[arg-type, call-arg]
        pairs = [(out, g) for out, g, need in zip(outputs, grads, ctx.needs, strict=True) if need and out.requires_grad]
        sources = [tensor for i, tensor in enumerate(inputs) if i in wanted and tensor is not None]
        found = torch.autograd.grad(
            [out for out, _ in pairs], sources, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
        )
    result: list[Tensor | None] = [None] * 6
    for i, tensor in zip(wanted, found, strict=True):
        result[i] = tensor
    return tuple(result)


_ARGUMENTS = "Tensor branch, Tensor hidden, Tensor? weight, Tensor? bias"
_forward_op = define(f"branch_trunk({_ARGUMENTS}, Tensor? offset) -> Tensor", reference, _fake, LAUNCHERS, _pays)
_backward_op = define(
    f"branch_trunk_backward(Tensor grad, {_ARGUMENTS}, bool[] needs) -> (Tensor, Tensor, Tensor, Tensor)",
    backward_reference,
    _fake_backward,
    BACKWARD_LAUNCHERS,
    _pays_backward,
)
_forward_op.register_autograd(_backward, setup_context=_save)
_backward_op.register_autograd(_backward_backward, setup_context=_save_backward)
