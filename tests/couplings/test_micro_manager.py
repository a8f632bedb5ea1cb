"""Micro simulations by the micro manager's interface, driven as the manager drives them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sciml_couplings.micro_manager import SOLVER, SURROGATE, micro_simulation, switching_function
from small_surrogates import TrueSpring, perceptron, spring, spring_inputs

from sciml import FieldSpec, Network, Region, Spec, Surrogate


class Creep(Network):
    """strain = strain_old + stress / 100: what was, and a step."""

    registered = "small.creep"

    def __init__(self):
        super().__init__()
        self.register_buffer("rate", torch.tensor(0.01, dtype=torch.float64))

    @property
    def spec(self):
        return Spec(
            inputs=(FieldSpec("stress", ("batch",), "Pa"), FieldSpec("strain_old", ("batch",), "1")),
            outputs=(FieldSpec("strain", ("batch",), "1"), FieldSpec("strain_std", ("batch",), "1")),
        )

    @property
    def config(self):
        return {}

    def forward(self, stress, strain_old):
        return {"strain": strain_old + self.rate * stress, "strain_std": 0.1 * stress.abs()}


def creep():
    return micro_simulation(
        Surrogate(Creep(), domain={"stress": Region.interval(0, 10)}),
        memory={"strain_old": "strain"},
        start={"strain_old": 0.0},
    )


class SpringSolver:
    """The true solver, by the manager's interface."""

    def __init__(self, sim_id):
        self.sim_id = sim_id

    def solve(self, macro_data, dt):
        data = spring_inputs(1).assign(
            position=(("batch", "axis"), [macro_data["position"]], {"units": "m"}),
            stiffness=("batch", [macro_data["stiffness"]], {"units": "N m-1"}),
        )
        answer = TrueSpring()(data)
        return {"energy": float(answer["energy"][0]), "force": answer["force"].values[0]}


def test_solve_gives_what_predict_gives(tmp_path):
    spring().save(tmp_path / "spring")
    simulation = micro_simulation(tmp_path / "spring")(7)
    assert simulation.get_global_id() == 7
    data = spring_inputs(1)
    macro = {"position": data["position"].values[0], "stiffness": float(data["stiffness"][0]), "unrelated": 1.0}
    answer, wanted = simulation.solve(macro, 0.1), spring().predict(data)
    assert answer["energy"] == float(wanted["energy"][0])
    np.testing.assert_array_equal(answer["force"], wanted["force"].values[0])
    assert set(simulation.initialize()) == {"energy", "force", "force_std"}
    assert type(simulation).__name__ == "MicroSimulation"


def test_state_brings_back_every_later_answer():
    MicroSimulation = creep()
    first, second = MicroSimulation(1), MicroSimulation(2)
    assert first.initialize()["strain"] == pytest.approx(0.05)
    for stress in (1.0, 2.0):
        first.solve({"stress": stress}, 0.1)
    state = json.loads(json.dumps(first.get_state()))
    third = first.solve({"stress": 3.0}, 0.1)["strain"]
    assert third == pytest.approx(0.06)
    for simulation in (first, second):  # a repeated step, as implicit coupling does, and another simulation
        simulation.set_state(state)
        assert simulation.solve({"stress": 3.0}, 0.1)["strain"] == third
    assert MicroSimulation(3).solve({"stress": 3.0}, 0.1)["strain"] == pytest.approx(0.03)


def test_the_switch_falls_back_to_the_true_solver_outside_and_comes_back():
    MicroSimulation = micro_simulation(spring(hardening=0.5))  # differs from the truth, so that answers tell the giver
    models = [SpringSolver, MicroSimulation]
    switch = switching_function(MicroSimulation)
    resolution, simulation, used = SURROGATE, MicroSimulation(0), []
    for x in (0.5, 1.5, 20.0, 1.5, 0.5):
        macro = {"position": [min(x, 9.0), 0.0], "stiffness": 2.0}
        step = switch(resolution, np.zeros(2), 0.0, macro, None)
        if step:
            resolution += step
            simulation = models[resolution](0)
        assert switch(resolution, np.zeros(2), 0.0, macro, None) == 0
        energy = simulation.solve(macro, 0.1)["energy"]
        hardening = 1.0 if resolution == SOLVER else 0.5
        square = min(x, 9.0) ** 2
        assert energy == pytest.approx(square + hardening * square**2 / 4)
        used.append(resolution)
    assert used == [SURROGATE, SOLVER, SOLVER, SOLVER, SURROGATE]
    assert switch(SURROGATE, None, 0.0, {"position": [99.0, 0.0], "stiffness": 2.0}, None) == -1


def test_the_switch_heeds_the_standard_error():
    switch = switching_function(creep(), {"strain_std": 0.5})
    assert switch(SURROGATE, None, 0.0, {"stress": 2.0}, {"strain_std": 0.2}) == 0
    assert switch(SURROGATE, None, 0.0, {"stress": 2.0}, {"strain_std": 0.6}) == -1
    assert switch(SOLVER, None, 0.0, {"stress": 2.0}, {"strain": 0.0}) == 1


def test_wrong_couplings_are_refused():
    simulation = micro_simulation(spring())(0)
    with pytest.raises(ValueError, match=r"the macro data stiffness too, got position"):
        simulation.solve({"position": [0.1, 0.1]}, 0.1)
    with pytest.raises(ValueError, match="position: expected 2 numbers, got 3"):
        simulation.solve({"position": [0.1, 0.1, 0.1], "stiffness": 2.0}, 0.1)
    with pytest.raises(ValueError, match="training domain"):
        simulation.solve({"position": [1.1, 0.1], "stiffness": 2.0}, 0.1)
    with pytest.raises(ValueError, match="expected dt > 0"):
        simulation.solve({"position": [0.1, 0.1], "stiffness": 2.0}, 0.0)
    with pytest.raises(ValueError, match="a length >= 1 of query"):
        micro_simulation(perceptron())
    with pytest.raises(ValueError, match="of the same inputs"):
        micro_simulation(spring(), memory={"stiffness": "energy"})
