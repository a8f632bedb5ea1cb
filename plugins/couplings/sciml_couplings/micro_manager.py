"""Surrogates as micro simulations of the preCICE micro manager, with a switch to the true solver outside the domain."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sciml import Surrogate, load
from sciml.surrogate import Outside
from sciml_couplings.guard import samples_outside
from sciml_couplings.sample import Sample

State = dict[str, Any]
SOLVER, SURROGATE = 0, 1
"""Positions of the models in the manager's list ``micro_file_names``: the true solver first, the surrogate second."""


class SurrogateSimulation:
    """What every micro simulation made by :func:`micro_simulation` does, by the interface of the micro manager.

    Parameters
    ----------
    sim_id : number that the manager gave it.

    *Contract*: `get_state` then `set_state`, on this or on another simulation of the class, brings back every later
    answer; the state is plain numbers and lists.
    """

    sample: ClassVar[Sample]
    memory: ClassVar[Mapping[str, str]] = {}
    start: ClassVar[Mapping[str, Any]] = {}
    outside: ClassVar[Outside] = "raise"

    def __init__(self, sim_id: int) -> None:
        self._sim_id = sim_id
        self._memory = {name: np.array(self.start[name], dtype=float) for name in self.memory}

    def initialize(self) -> dict[str, Any]:
        """Return the outputs in the middle of the training domain, for the manager's first exchange."""
        middle = self.sample.middle()
        return self._answer({name: self._memory.get(name, middle[name]) for name in middle}, "allow")

    def solve(self, macro_data: Mapping[str, Any], dt: float) -> dict[str, Any]:
        """Return the outputs for the macro quantities in `macro_data`; a step `dt` moves what is remembered."""
        if not dt > 0:
            raise ValueError(f"micro simulation {self._sim_id}: expected dt > 0, got {dt}; correct the step")
        wanted = [name for name in self.sample.shapes if name not in self.memory]
        if absent := [name for name in wanted if name not in macro_data]:
            got = ", ".join(macro_data) or "none"
            raise ValueError(
                f"micro simulation: expected the macro data {', '.join(absent)} too, got {got}; couple them"
            )
        answer = self._answer({**{name: macro_data[name] for name in wanted}, **self._memory}, self.outside)
        self._memory = {name: np.array(answer[output], dtype=float) for name, output in self.memory.items()}
        return answer

    def get_state(self) -> State:
        """Return what the simulation remembers."""
        return {"sim_id": self._sim_id, "memory": {name: array.tolist() for name, array in self._memory.items()}}

    def set_state(self, state: State) -> None:
        """Take up a `state`."""
        self._sim_id = state["sim_id"]
        self._memory = {name: np.array(values, dtype=float) for name, values in state["memory"].items()}

    def get_global_id(self) -> int:
        """Return the number that the manager gave it."""
        return self._sim_id

    def set_global_id(self, sim_id: int) -> None:
        """Take another number `sim_id`."""
        self._sim_id = sim_id

    def _answer(self, values: Mapping[str, Any], outside: Outside) -> dict[str, Any]:
        found = self.sample.surrogate.predict(self.sample.dataset(values), outside=outside)
        arrays = {name: array.values.ravel() for name, array in found.data_vars.items()}
        return {str(name): float(array[0]) if array.size == 1 else array for name, array in arrays.items()}


def micro_simulation(
    surrogate: Surrogate | str | Path,
    *,
    sizes: Mapping[str, int] | None = None,
    memory: Mapping[str, str] | None = None,
    start: Mapping[str, Any] | None = None,
    outside: Outside = "raise",
) -> type[SurrogateSimulation]:
    """Return the class ``MicroSimulation`` that the micro manager looks for in a module of the caller's.

    The names of the macro and micro quantities in the coupling are those of the surrogate's inputs and outputs, in the
    units of its spec. A file for the manager is two lines: ``from sciml_couplings.micro_manager import
    micro_simulation`` and ``MicroSimulation = micro_simulation("path/of/surrogate")``.

    Parameters
    ----------
    surrogate : the surrogate or the folder where it is saved.
    sizes : lengths of its free dimensions.
    memory : inputs that take an output of the step before, such as ``{"damage_old": "damage"}``.
    start : values of these inputs in the first step.
    outside : what to do outside the training domain; where the switch falls back to the true solver, "allow".

    *Source*: preCICE micro manager 0.12, its micro simulation interface.
    """
    loaded = surrogate if isinstance(surrogate, Surrogate) else load(surrogate)
    sample, remembered, first = Sample(loaded, sizes), dict(memory or {}), dict(start or {})
    outputs = {field.name for field in loaded.spec.outputs}
    if set(remembered) != set(first) or set(remembered) - set(sample.shapes) or set(remembered.values()) - outputs:
        wanted = "memory={input: output} with start={input: values} of the same inputs"
        raise ValueError(f"micro_simulation: expected {wanted}, got {remembered} and {first}; correct them")
    members = {"sample": sample, "memory": remembered, "start": first, "outside": outside}
    return type("MicroSimulation", (SurrogateSimulation,), {**members, "__doc__": SurrogateSimulation.__doc__})


def switching_function(simulation: type[SurrogateSimulation], largest_std: Mapping[str, float] | None = None) -> Any:
    """Return the manager's ``switching_function`` between the true solver and the surrogate.

    It steps to the solver where the macro data lie outside the training domain or the last standard error was too
    large, and back to the surrogate elsewhere. The manager's ``micro_file_names`` name the solver first.

    Parameters
    ----------
    simulation : from :func:`micro_simulation`.
    largest_std : limits such as ``{"stress_std": 1e5}``, in the units of the spec, beyond which the solver takes over.

    *Contract*: the step is -1, 0 or +1, and 0 when asked again after it was taken.
    """
    return functools.partial(_step, simulation.sample, frozenset(simulation.memory), dict(largest_std or {}))


def _step(
    sample: Sample,
    remembered: frozenset[str],
    limits: Mapping[str, float],
    resolution: int,
    location: Any,
    t: float,
    input: Mapping[str, Any],
    prev_output: Mapping[str, Any] | None,
) -> int:
    """Return how far to step in the list of models; the last five arguments are the manager's."""
    middle = sample.middle()
    known = {name: middle[name] if name in remembered and name not in input else input[name] for name in middle}
    unsure = any(np.max((prev_output or {}).get(name, 0.0)) > limit for name, limit in limits.items())
    try:
        outside = bool(samples_outside(sample.surrogate, sample.dataset(known)).any())
    except ValueError:  # beyond the physical bounds too; the solver says so better
        outside = True
    return (SOLVER if outside or unsure else SURROGATE) - int(resolution)
