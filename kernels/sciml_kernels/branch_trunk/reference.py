"""The contraction of branch, last trunk layer and hidden features in plain torch, and its gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype


def trunk_first(n_source: int, n_receiver: int, n_time: int, n_basis: int, n_hidden: int) -> bool:
    """Return whether evaluating the trunk first takes fewer multiplications than contracting branch and weight first.

    The two orders cost ``N T K (H + S)`` and ``S T H (K + N)`` multiplications. The gradients
    take the order of the output.
    """
    cheaper = n_receiver * n_basis * (n_hidden + n_source) <= n_source * n_hidden * (n_basis + n_receiver)
    if isinstance(cheaper, bool):
        return cheaper
    # An exported program may leave a length open. It must not be tied to the lengths for which one order is cheaper.
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(cheaper)


def widen(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the tensors in the type that sums are kept in: float32 for float16 and bfloat16."""
    return tuple(None if tensor is None else tensor.to(accumulation_dtype(tensor.dtype)) for tensor in tensors)


def reference(
    branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, offset: Tensor | None
) -> Tensor:
    """Contract branch, weight and hidden features in the order that takes fewer multiplications.

    ``out[s,n,t] = sum_k branch[s,k] (sum_h hidden[n,h] weight[t,k,h] + bias[t,k]) + offset[t]``

    Parameters and shapes are those of `sciml_kernels.branch_trunk.branch_trunk`, which checks them; here they are
    taken as given.
    """
    dtype = branch.dtype
    branch, hidden, weight, bias, offset = widen(branch, hidden, weight, bias, offset)  # type: ignore[assignment]
    level = shift(branch, bias, offset)
    if weight is None:
        out = branch @ hidden.T
        return (out if level is None else out + level).unsqueeze(-1).to(dtype)
    n_source, n_receiver = branch.shape[0], hidden.shape[0]
    n_time, n_basis, n_hidden = weight.shape
    if trunk_first(n_source, n_receiver, n_time, n_basis, n_hidden):
        trunk = hidden @ weight.reshape(n_time * n_basis, n_hidden).T
        out = (branch @ trunk.reshape(n_receiver * n_time, n_basis).T).reshape(n_source, n_receiver, n_time)
        return (out if level is None else out + level.unsqueeze(1)).to(dtype)
    coefficient = _coefficients(branch, weight).permute(1, 2, 0)
    features = hidden.expand(n_source, n_receiver, n_hidden)
    if level is None:
        return torch.bmm(features, coefficient).to(dtype)
    return torch.baddbmm(level.unsqueeze(1), features, coefficient).to(dtype)


def shift(branch: Tensor, bias: Tensor | None, offset: Tensor | None) -> Tensor | None:
    """Return ``sum_k branch[s,k] bias[t,k] + offset[t]``, (source, time): what is the same for every receiver."""
    if bias is None:
        return None if offset is None else offset.expand(branch.shape[0], offset.shape[0])
    return branch @ bias.T if offset is None else torch.addmm(offset, branch, bias.T)


def _coefficients(branch: Tensor, weight: Tensor) -> Tensor:
    """Return ``C[t,s,h] = sum_k branch[s,k] weight[t,k,h]``."""
    # Not torch.matmul: where a gradient is needed it copies the weight to make one flat product of the batched one.
    return torch.bmm(branch.expand(weight.shape[0], *branch.shape), weight)


def backward_reference(
    grad: Tensor, branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of branch, hidden, weight and bias; an empty tensor for each that is absent or not needed.

    With ``C[s,t,h] = sum_k branch[s,k] weight[t,k,h]`` and ``D[s,t,h] = sum_n grad[s,n,t] hidden[n,h]``:

    ``d_branch[s,k] = sum_th D[s,t,h] weight[t,k,h]``, ``d_weight[t,k,h] = sum_s branch[s,k] D[s,t,h]``,
    ``d_hidden[n,h] = sum_st grad[s,n,t] C[s,t,h]``, and the same with the two factors exchanged when the trunk comes
    first. The bias adds ``sum_nt grad[s,n,t] bias[t,k]`` to ``d_branch``.

    Parameters
    ----------
    grad
        Gradient of the output, (source, receiver, time).
    needs
        Which of the four gradients are wanted, in the order in which they are returned.
    """
    dtype = branch.dtype
    grad, branch, hidden, weight, bias = widen(grad, branch, hidden, weight, bias)  # type: ignore[assignment]
    first, second, third, fourth = (branch.new_empty(0) for _ in range(4))
    if weight is None:
        plane = grad.squeeze(-1)
        first = plane @ hidden if needs[0] else first
        second = plane.T @ branch if needs[1] else second
    else:
        order = _trunk_first if trunk_first(branch.shape[0], hidden.shape[0], *weight.shape) else _branch_first
        first, second, third = order(grad, branch, hidden, weight, needs)
    level = grad.sum(1)
    if needs[0] and bias is not None:
        first = first + level @ bias
    if needs[3] and bias is not None:
        fourth = level.T @ branch
    return first.to(dtype), second.to(dtype), third.to(dtype), fourth.to(dtype)


def _trunk_first(
    grad: Tensor, branch: Tensor, hidden: Tensor, weight: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients by branch, hidden and weight from the trunk (receiver, time * basis) and its gradient."""
    d_branch, d_hidden, d_weight = (branch.new_empty(0) for _ in range(3))
    n_basis, n_hidden = weight.shape[1:]
    matrix = weight.reshape(weight.shape[0] * n_basis, n_hidden)
    flat = grad.reshape(branch.shape[0], hidden.shape[0] * weight.shape[0])
    if needs[0]:
        d_branch = flat @ (hidden @ matrix.T).reshape(hidden.shape[0] * weight.shape[0], n_basis)
    if needs[1] or needs[2]:
        d_trunk = (flat.T @ branch).reshape(hidden.shape[0], matrix.shape[0])
        if needs[1]:
            d_hidden = d_trunk @ matrix
        if needs[2]:
            d_weight = (d_trunk.T @ hidden).reshape(weight.shape)
    return d_branch, d_hidden, d_weight


def _branch_first(
    grad: Tensor, branch: Tensor, hidden: Tensor, weight: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients by branch, hidden and weight from C (time, source, hidden) and D (source, time, hidden)."""
    d_branch, d_hidden, d_weight = (branch.new_empty(0) for _ in range(3))
    if needs[1]:
        d_hidden = torch.bmm(grad, _coefficients(branch, weight).transpose(0, 1)).sum(0)
    if needs[0] or needs[2]:
        inner = torch.bmm(grad.transpose(1, 2), hidden.expand(branch.shape[0], *hidden.shape))
        if needs[0]:
            d_branch = torch.bmm(inner.transpose(0, 1), weight.transpose(1, 2)).sum(0)
        if needs[2]:
            d_weight = torch.bmm(branch.T.expand(weight.shape[0], *branch.T.shape), inner.transpose(0, 1))
    return d_branch, d_hidden, d_weight
