"""Any UM-Bridge model as an operator to learn from: a container, a cluster or another language behind a URL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr

from sciml import FieldSpec, Operator, Spec


class UmbridgeOperator(Operator):
    """A model behind a URL; every sample of the batch is one request, several at a time.

    Parameters
    ----------
    url : such as ``http://localhost:4242``.
    inputs, outputs : the fields in the order of the model's vectors; an input's dims start with "batch", an output's
        are ("batch",) for one number or ("batch", NAME).
    model : name on the server.
    config : sent with every request.
    n_parallel : requests at a time.

    Raises
    ------
    ConnectionError
        Nothing answers at the URL, it has no such model, or its sizes are not those of the fields.

    *Contract*: as of every operator; what the server refuses or cannot compute is a ValueError with its words, after
    the requests under way have ended.

    *Source*: L. Seelinger et al., JOSS 8 (2023) 4748.
    """

    def __init__(
        self,
        url: str,
        inputs: tuple[FieldSpec, ...],
        outputs: tuple[FieldSpec, ...],
        *,
        model: str = "forward",
        config: dict[str, Any] | None = None,
        n_parallel: int = 4,
    ) -> None:
        try:
            import umbridge
        except ImportError as error:
            raise ImportError("UM-Bridge: expected umbridge, got none; pip install 'sciml-toolkit[serve]'") from error
        if n_parallel < 1:
            raise ValueError(f"n_parallel: expected at least one request at a time, got {n_parallel}; raise it")
        self.url, self.config, self.n_parallel = url.rstrip("/"), config or {}, n_parallel
        self._spec = Spec(inputs, outputs)
        try:
            self._model = umbridge.HTTPModel(self.url, model)
            self.sizes = self._model.get_input_sizes(self.config), self._model.get_output_sizes(self.config)
        except Exception as error:  # requests, JSON and umbridge each raise their own
            raise ConnectionError(
                f"{self.url}: expected an UM-Bridge model {model!r}, got {error}; start it"
            ) from error
        counts = len(self.sizes[0]), len(self.sizes[1])
        if counts != (len(inputs), len(outputs)):
            got = f"{counts[0]} and {counts[1]}"
            raise ConnectionError(f"{self.url}: expected {len(inputs)} inputs and {len(outputs)} outputs, got {got}")

    @property
    def spec(self) -> Spec:
        """Names, dimensions, units and bounds, as given."""
        return self._spec

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        fields, batch = self.spec.inputs, self.spec.batch_dim
        arrays = [inputs[field.name].values.reshape(inputs.sizes[batch], -1) for field in fields]
        for field, array, size in zip(fields, arrays, self.sizes[0], strict=True):
            if array.shape[1] != size:
                got = f"{array.shape[1]} numbers a sample"
                raise ValueError(f"input {field.name!r}: expected {size} for {self.url}, got {got}; reshape it")
        with ThreadPoolExecutor(self.n_parallel) as pool:
            rows = list(pool.map(self._ask, *arrays))
        variables = {}
        for number, field in enumerate(self.spec.outputs):
            values = np.array([row[number] for row in rows], dtype=float).reshape(len(rows), -1)
            shape = (len(rows), values.shape[1]) if len(field.dims) == 2 else (len(rows),)
            variables[field.name] = (field.dims, values.reshape(shape), {"units": field.unit})
        return xr.Dataset(variables)

    def _ask(self, *vectors: np.ndarray) -> list[list[float]]:
        try:
            answer: list[list[float]] = self._model([vector.tolist() for vector in vectors], self.config)
        except Exception as error:
            raise ValueError(f"{self.url}: expected an answer, got {error}") from error
        return answer
