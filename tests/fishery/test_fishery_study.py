"""The robustness study tries policies in the worlds that it says."""

from __future__ import annotations

import pytest
import torch
from sciml_fishery.models import Model, may, nominal
from sciml_fishery.policies import ConstantEscapement, ConstantMortality
from sciml_fishery.rollout import simulate
from sciml_fishery.study import StudyConfig, one_species, other_worlds, study
from sciml_fishery.three_species import published, variant

SEES, FISHED = ("X", "Y", "Z"), ("X", "Y")


@pytest.mark.parametrize("model", [published("M2"), published("M4"), variant("CVDRIFT", 1)], ids=lambda m: m.name)
def test_other_worlds_have_the_species_and_fisheries_and_differ(model):
    worlds = other_worlds(model)
    assert next(iter(worlds.values())) is model
    stock, noise, year = torch.full((1, 3), 0.4), torch.zeros(1, 3), torch.tensor(40.0)
    grown = {tuple(world.grow(stock, nominal(world), year, noise)[0].tolist()) for world in worlds.values()}
    assert len(grown) == len(worlds) >= 6
    assert all((world.species, world.fished) == (model.species, model.fished) for world in worlds.values())


def test_one_species_model_is_the_prey_under_a_predator_that_is_held():
    world, stock = published("M3"), torch.tensor([[0.4, 0.0, 0.7]])
    simple = one_species(world)["the predator held at its start"]
    year = torch.tensor(0.0)
    alone = simple.grow(stock[:, :1], nominal(simple), year, torch.ones(1, 1))
    assert alone[0, 0] == pytest.approx(float(world.grow(stock, nominal(world), year, torch.ones(1, 3))[0, 0]))
    assert one_species(may()) == {}


def test_study_holds_every_deviation_world_and_one_species_model():
    model = Model(**{**vars(published("M3")), "n_years": 20})
    policies = {
        "escapement": ConstantEscapement(SEES, FISHED, [0.4, 0.5]).fraction,
        "mortality": ConstantMortality(SEES, FISHED, [0.15, 0.25]).fraction,
    }
    seen = []
    config = StudyConfig((0.0, 0.2), 3, 5, 4, 20)
    found = study(config, model, policies, 5, 4.0, update=lambda done, what: seen.append(done))
    assert seen == [1, 2]
    assert {spread: len(one.coexist) for spread, one in found.noise.items()} == {0.0: 3, 0.2: 3}
    own = simulate(model, policies["mortality"], seed=5, episodes=20).mean
    assert found.elsewhere["M3"]["mortality"] == own
    assert set(found.alone) == set(one_species(model))
    full = study(config, model, policies, 5, full=True, update=lambda *_: None)
    assert len(full.noise[0.2].coexist) == 5
    assert full.alone == {}


def test_impossible_study_is_refused():
    with pytest.raises(ValueError, match="study: expected counts"):
        StudyConfig(n_draws=0)
