"""Linear attention over the nodes of each segment in plain torch, and its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.segment_reduce.reference import owners

NORMALISATIONS = ("row_sum", "none")


class Products(Protocol):
    """The two products that the op is made of, forward and back; each kind of kernel has its own."""

    def collect(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``sum_j left_j right_j^T`` (segment, head, i, o) of rows (node, head, i) and (node, head, o)."""

    def read(self, rows: Tensor, state: Tensor) -> Tensor:
        """Return ``rows_i state`` (node, head, o), the state (segment, head, i, o) being that of the node's segment."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Segments cut into chunks of one length, so that sums over ragged segments are batched matrix products.

    Parameters
    ----------
    place : (node,) of each node among the slots of the chunks, ``n_chunk * length``.
    segment : (node,) that each node belongs to.
    owner : (chunk,) the segment of each chunk; chunks left over belong to the last and hold nothing.
    n_segment, length : numbers.
    """

    place: Tensor
    segment: Tensor
    owner: Tensor
    n_segment: int
    length: int

    @classmethod
    def of(cls, pointer: Tensor, n_node: int) -> Cut:
        """Choose the length by the mean segment; how many chunks there are depends on shapes alone."""
        n_segment = pointer.shape[0] - 1
        length = max(8, min(128, n_node // max(n_segment, 1)))
        ends = ((pointer.diff() + length - 1) // length).cumsum(0)
        n_chunk = (n_node + n_segment * (length - 1)) // length
        owner = torch.searchsorted(ends, torch.arange(n_chunk, device=ends.device), right=True).clamp(max=n_segment - 1)
        segment = owners(pointer, n_node)
        first = torch.cat([ends.new_zeros(1), ends[:-1]])[:n_segment]
        place = torch.arange(n_node, device=ends.device) + (first * length - pointer[:-1])[segment]
        return cls(place, segment, owner, n_segment, length)

    def collect(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``sum_j left_j right_j^T`` (segment, head, i, o) of rows (node, head, i) and (node, head, o)."""
        parts = torch.einsum("clhi,clho->chio", self._chunks(left), self._chunks(right))
        return parts.new_zeros(self.n_segment, *parts.shape[1:]).index_add(0, self.owner, parts)

    def read(self, rows: Tensor, state: Tensor) -> Tensor:
        """Return ``rows_i state`` (node, head, o), the state being that of the node's segment."""
        found = torch.einsum("clhi,chio->clho", self._chunks(rows), state[self.owner])
        return found.flatten(0, 1)[self.place]

    def _chunks(self, rows: Tensor) -> Tensor:
        slots = rows.new_zeros(self.owner.shape[0] * self.length, *rows.shape[1:]).index_copy(0, self.place, rows)
        return slots.unflatten(0, (self.owner.shape[0], self.length))


def reference(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str) -> Tensor:
    """Attend within segments; parameters are those of `sciml_kernels.linear_attention.linear_attention`."""
    cut = Cut.of(pointer, query.shape[0])
    return attend(cut, widen(query, key, value, weight), normalise).to(query.dtype)


def backward_reference(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str
) -> tuple[Tensor, ...]:
    """Return the gradients of query, key, value and weight; `grad` is that of the output (node, head, value_feature).

    See `pull_back` for the equations.
    """
    cut, wide = Cut.of(pointer, query.shape[0]), widen(grad, query, key, value, weight)
    return tuple(found.to(query.dtype) for found in pull_back(cut, cut.segment, wide, normalise))


def attend(products: Products, tensors: tuple[Tensor, ...], normalise: str) -> Tensor:
    """Return the output of the op for query, key, value and weight, in the type that sums are kept in."""
    q, k, v, w = tensors
    k = k * w[:, None, None]
    if normalise == "none":
        return products.read(q, products.collect(k, v))
    found = products.read(q, products.collect(k, with_ones(v)))
    return found[..., :-1] * reciprocal(found[..., -1:])


def pull_back(
    products: Products, segment: Tensor, tensors: tuple[Tensor, ...], normalise: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of query, key, value and weight from sums over segments and products with these.

    With G the gradient of the output, ``S = sum_j w_j k_j v_j^T`` and ``D = sum_i q_i G_i^T``:
    ``d_q = S G``, ``d_k = w D v``, ``d_v = w D^T k``, ``d_w = sum over heads of k . D v``.
    Divided by the row sum r, v has one more entry, 1, and G is ``(G / r, -(q . S G) / r^2)``.
    The state S is computed again, a product more, rather than kept.

    Parameters
    ----------
    products
        Sums over the segments, and rows times these.
    segment
        Of each node.
    tensors
        G, query, key, value and weight, in the type that sums are kept in.
    normalise
        As in the op.
    """
    grad, q, k, v, w = tensors
    collect, read = products.collect, products.read
    n_out, scale = v.shape[-1], w[:, None, None]
    if normalise == "row_sum":
        v = with_ones(v)
    state = collect(k * scale, v)
    d_query = read(grad, state[..., :n_out].mT)
    if normalise == "row_sum":
        sums = state[..., n_out][segment]
        share = reciprocal((q * sums).sum(-1, keepdim=True))
        of_sum = -(q * d_query).sum(-1, keepdim=True) * share.square()
        grad = torch.cat([grad * share, of_sum], -1)
        d_query = d_query * share + of_sum * sums
    state = collect(q, grad)
    of_key = read(v, state.mT)
    return d_query, of_key * scale, read(k, state[..., :n_out]) * scale, (k * of_key).sum((1, 2))


def with_ones(rows: Tensor) -> Tensor:
    """Append an entry that is one: the sum of the keys then is a column of the state."""
    return pad(rows, (0, 1), value=1.0)


def reciprocal(total: Tensor) -> Tensor:
    """Return one over a row sum, zero where that is zero."""
    empty = total == 0
    return torch.where(empty, 0, 1 / torch.where(empty, 1, total))


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in the type that sums are kept in: float32 for float16 and bfloat16."""
    return tuple(tensor.to(accumulation_dtype(tensor.dtype)) for tensor in tensors)
