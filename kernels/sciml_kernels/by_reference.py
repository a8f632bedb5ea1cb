"""Derivatives of an op by the autograd of its plain torch reference, to second order, as opaque ops of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.pattern import define


def gradients(reference: Callable[..., Tensor], n_tensor: int, grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    """Return the gradient of every tensor input, the first `n_tensor` of `inputs`; recomputes the forward pass."""
    # The body of an op runs below autograd; torch.func differentiates there all the same.
    pull_back = torch.func.vjp(lambda *tensors: reference(*tensors, *inputs[n_tensor:]), *inputs[:n_tensor])[1]
    found: tuple[Tensor, ...] = pull_back(grad)
    return tuple(g.contiguous() for g in found)


def differentiate(  # long: the closures of one op stand together
    op: torch.library.CustomOpDef, signature: str, reference: Callable[..., Tensor], n_tensor: int
) -> Callable[..., tuple[Tensor, ...]]:
    """Give an op its gradient, and the gradient its own, and return the gradient's plain torch.

    Parameters
    ----------
    op
        Made by `sciml_kernels.pattern.define`.
    signature
        The op's name and arguments, such as ``"scale(Tensor x, float factor)"``; tensors first.
    reference
        The op in plain torch.
    n_tensor
        How many of its arguments are tensors, none of them optional.
    """
    name, _, arguments = signature.partition("(")

    def backward_reference(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return gradients(reference, n_tensor, grad, *inputs)

    def fake(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(tensor.new_empty(tensor.shape) for tensor in inputs[:n_tensor])

    returns = ", ".join(["Tensor"] * n_tensor)
    backward_op = define(f"{name}_backward(Tensor grad, {arguments} -> ({returns})", backward_reference, fake, {})

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:n_tensor])
        ctx.rest = inputs[n_tensor:]

    def save_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[: n_tensor + 1])
        ctx.rest = inputs[n_tensor + 1 :]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = getattr(torch.ops.sciml, f"{name}_backward")(grad, *ctx.saved_tensors, *ctx.rest)
        kept = [g if need else None for g, need in zip(found, ctx.needs_input_grad, strict=False)]
        return (*kept, *(None,) * len(ctx.rest))

    def backward_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            first, *tensors = (tensor.view_as(tensor) for tensor in ctx.saved_tensors)
            sources = [first, *tensors]
            sources = [t if t.requires_grad else t.detach().requires_grad_() for t in sources]
            leaves = [tensor.view_as(tensor) for tensor in sources[1:]]
            out = reference(*leaves, *ctx.rest)
            outputs = torch.autograd.grad(out, leaves, sources[0], create_graph=True, allow_unused=True)
            pairs = [(out, g) for out, g in zip(outputs, grads, strict=True) if out is not None and out.requires_grad]
            found = torch.autograd.grad(
                [out for out, _ in pairs], sources, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
            )
        kept = [g if need else None for g, need in zip(found, ctx.needs_input_grad, strict=False)]
        return (*kept, *(None,) * len(ctx.rest))

    op.register_autograd(backward, setup_context=save)
    backward_op.register_autograd(backward_backward, setup_context=save_backward)
    return backward_reference


def use_autograd(op: torch.library.CustomOpDef, function: Callable[..., Any]) -> None:
    """Give an op the gradients that autograd finds for `function`, its plain torch; meant for second derivatives.

    Parameters
    ----------
    op
        Made by `sciml_kernels.pattern.define`.
    function
        Takes the op's arguments and returns a tensor or a tuple of them.
    """

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*(value if isinstance(value, Tensor) else None for value in inputs))
        ctx.rest = tuple(None if isinstance(value, Tensor) else value for value in inputs)

    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views cut the graph: an input computed from another one must not receive that one's share as well.
            pairs = zip(ctx.saved_tensors, ctx.rest, strict=True)
            inputs = [other if tensor is None else tensor.view_as(tensor) for tensor, other in pairs]
            found = function(*inputs)
            outputs = found if isinstance(found, tuple) else (found,)
            kept = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if out.requires_grad]
            wanted = [i for i, need in enumerate(ctx.needs_input_grad) if need]
            sources = [inputs[i] for i in wanted]
            found = torch.autograd.grad(
                [out for out, _ in kept], sources, [g for _, g in kept], create_graph=create_graph, allow_unused=True
            )
        result: list[Tensor | None] = [None] * len(inputs)
        for i, tensor in zip(wanted, found, strict=True):
            result[i] = tensor
        return tuple(result)

    op.register_autograd(backward, setup_context=save)
