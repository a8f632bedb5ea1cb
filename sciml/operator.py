"""The operator: a map between datasets of labelled fields, be it a solver or a surrogate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import xarray as xr

from sciml.fields import Spec

Discretization = Literal["agnostic", "fixed"]


class Operator(ABC):
    """A map from input fields to output fields; to write: `spec` and `_apply`.

    An operator that acts on functions takes sample coordinates and quadrature weights as inputs, and its query points
    too. It calls itself "agnostic" when it converges as the samples are refined, else "fixed"; the conformance kit
    (`sciml.testing`) measures the claim.

    Contract: applied to a batch, it gives what it gives one by one; a permuted batch gives the permuted answer; the
    inputs are left unchanged; equal inputs and seed give equal outputs on one device.
    """

    discretization: ClassVar[Discretization] = "fixed"

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Names, dimensions, units and bounds of what goes in and comes out."""

    @abstractmethod
    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        """Map inputs that are already checked and converted."""

    def __call__(self, inputs: xr.Dataset, /) -> xr.Dataset:
        """Check and convert the inputs, apply the map, check the outputs."""
        return self.spec.check_outputs(self._apply(self.spec.check_inputs(inputs)))
