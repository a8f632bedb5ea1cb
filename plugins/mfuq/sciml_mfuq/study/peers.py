"""Other people's multi-fidelity models on the same runs: SMT's co-kriging, emukit's nonlinear auto-regression."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sciml_mfuq.samples import Array, Samples

Predict = Callable[[Array], tuple[Array, Array]]
LABELS: Mapping[str, str] = {
    "smt_mfk": "SMT, MFK",
    "smt_mfkpls": "SMT, MFKPLS (4 components)",
    "emukit_nargp": "emukit, NARGP",
}


def fit_peer(name: str, samples: Samples, seed: int) -> Predict:
    """Fit a peer with its default settings; return its mean and standard deviation (n,) at points (n, feature).

    Parameters
    ----------
    name
        One of `LABELS`.
    samples
        Levels that all see every input.
    seed
        Of what is random in SMT. Emukit draws restarts and samples from NumPy's global state, which is left alone: its
        figures vary a little from run to run.

    Raises
    ------
    ImportError
        The package is missing; the sentence names the extra.
    """
    if name not in LABELS:
        raise ValueError(f"fit_peer: expected one of {', '.join(LABELS)}, got {name!r}; choose one of these")
    with contextlib.redirect_stdout(io.StringIO()):
        return _emukit(samples) if name == "emukit_nargp" else _smt(name, samples, seed)


def _smt(name: str, samples: Samples, seed: int) -> Predict:
    applications = _peer("smt.applications")
    options: dict[str, Any] = {"print_global": False, "seed": seed}
    if name == "smt_mfkpls":
        options["n_comp"] = min(4, samples.n_feature)
    model = (applications.MFK if name == "smt_mfk" else applications.MFKPLS)(**options)
    for number, level in enumerate(samples.levels[:-1]):
        model.set_training_values(level.x, level.y[:, None], name=number)
    model.set_training_values(samples.truth.x, samples.truth.y[:, None])
    model.train()
    return lambda x: (
        np.asarray(model.predict_values(x))[:, 0],
        np.sqrt(np.maximum(np.asarray(model.predict_variances(x))[:, 0], 0)),
    )


def _emukit(samples: Samples) -> Predict:
    arrays = _peer("emukit.multi_fidelity.convert_lists_to_array")
    models = _peer("emukit.multi_fidelity.models.non_linear_multi_fidelity_model")
    kernels = _peer("GPy").kern.RBF
    x, y = arrays.convert_xy_lists_to_arrays(
        [samples.unit(level.x) for level in samples.levels], [level.y[:, None] for level in samples.levels]
    )
    n_level, top = len(samples.levels), len(samples.levels) - 1
    kernel = models.make_non_linear_kernels(kernels, n_level, samples.n_feature, ARD=True)
    model = models.NonLinearMultiFidelityModel(x, y, n_level, kernel, n_samples=100, optimization_restarts=5)
    model.optimize()

    def predict(points: Array) -> tuple[Array, Array]:
        unit = samples.unit(points)
        mean, variance = model.predict(np.concatenate([unit, np.full((len(unit), 1), top)], 1))
        return mean[:, 0], np.sqrt(np.maximum(variance[:, 0], 0))

    return predict


def _peer(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(
            f"peers: expected the package {package}, got none; install it with: pip install 'sciml-toolkit[bench]'"
        ) from error
