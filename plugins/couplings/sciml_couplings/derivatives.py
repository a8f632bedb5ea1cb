"""Products with the Jacobian of a differentiable map, in either direction."""

from __future__ import annotations

from collections.abc import Callable

import torch

Map = Callable[[torch.Tensor], torch.Tensor]


def pull_back(function: Map, at: torch.Tensor, cotangent: torch.Tensor) -> torch.Tensor:
    """Return ``J^T w``, shaped like `at`; zero where the map does not depend on it.

    Parameters
    ----------
    function : the map f.
    at : where its Jacobian J is taken.
    cotangent : w, shaped like ``f(at)``.

    Examples
    --------
    >>> pull_back(lambda x: x**2, torch.tensor([3.0]), torch.tensor([1.0]))
    tensor([6.])
    """
    at = at.detach().clone().requires_grad_()
    value = function(at)
    found = torch.autograd.grad(value, at, cotangent, allow_unused=True)[0] if value.requires_grad else None
    return torch.zeros_like(at.detach()) if found is None else found


def push_forward(function: Map, at: torch.Tensor, tangent: torch.Tensor) -> torch.Tensor:
    """Return ``J v``, shaped like ``f(at)``, by two reverse passes.

    ``J^T w`` is linear in w; its derivative with respect to w, applied to v, is ``J v``. Unlike forward mode, this asks
    of every operation no more than a backward pass that can itself be differentiated.

    Parameters
    ----------
    function : the map f.
    at : where its Jacobian J is taken.
    tangent : v, shaped like `at`.

    Examples
    --------
    >>> push_forward(lambda x: x**2, torch.tensor([3.0]), torch.tensor([1.0]))
    tensor([6.])
    """
    at = at.detach().clone().requires_grad_()
    value = function(at)
    free = torch.zeros_like(value, requires_grad=True)
    pulled = None
    if value.requires_grad:
        (pulled,) = torch.autograd.grad(value, at, free, create_graph=True, allow_unused=True)
    if pulled is None or not pulled.requires_grad:
        return torch.zeros_like(value.detach())
    return torch.autograd.grad(pulled, free, tangent)[0]
