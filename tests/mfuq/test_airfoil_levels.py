"""Runs of the simulators as levels of a fit: different inputs, noise, and fields of two flows."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr
from sciml_mfuq.fields.cp_field import ANGLES, REYNOLDS, cp_field_pair
from sciml_mfuq.samples import Samples
from sciml_mfuq.simulators.chain import laminar_chain, level_of_runs
from sciml_mfuq.simulators.nektar import nektar_table
from sciml_mfuq.simulators.program import Execution

PRESENT = shutil.which("xfoil") and shutil.which("cc")
real = pytest.mark.skipif(not PRESENT, reason="needs xfoil and a C compiler: apt-get install xfoil gcc")
TRUTH = ("angle_of_attack", "reynolds")


def test_level_that_sees_fewer_inputs_says_which():
    runs = xr.Dataset(
        {"lift": ("batch", [0.1, np.nan, 0.3]), "lift_std": ("batch", [0.01, 0.02, 0.03])},
        coords={"reynolds": ("batch", [1.0, 2.0, 3.0])},
    )
    level = level_of_runs("cheap", runs, "lift", TRUTH, 2.0)
    assert level.columns == (1,)
    np.testing.assert_array_equal(level.x, [[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(level.noise, [0.01, 0.02, 0.03])
    whole = runs.assign_coords(angle_of_attack=("batch", [4.0, 5.0, 6.0]))
    truth = level_of_runs("truth", whole, "lift", TRUTH, 2.0)
    assert truth.columns is None
    np.testing.assert_array_equal(truth.x[:, 0], [4.0, 5.0, 6.0])
    samples = Samples((level, truth), np.array([[0.0, 9.0], [0.0, 9.0]]))
    assert [len(one.x) for one in samples.levels] == [2, 2]  # without the run that has no answer
    with pytest.raises(ValueError, match="expected some of the inputs"):
        level_of_runs("blind", runs, "lift", ("mach",), 1.0)


def test_recorded_table_is_a_noisy_level():
    level = level_of_runs("nektar", nektar_table(), "drag_coefficient", ("angle_of_attack",), 80.0)
    np.testing.assert_array_equal(level.x[:, 0], [0.0, 4.0, 8.0])
    np.testing.assert_array_equal(level.noise, 0.001)


@real
def test_chain_of_three_real_simulators_grows_dearer_and_nearer():
    pytest.importorskip("neuralfoil", reason="needs NeuralFoil: pip install 'sciml-toolkit[airfoil]'")
    samples = laminar_chain(n_neuralfoil=9, n_xfoil=5, execution=Execution(n_workers=2))
    assert [level.name for level in samples.levels] == ["neuralfoil", "xfoil", "nektar"]
    costs = [level.cost for level in samples.levels]
    assert costs == sorted(costs)
    _, panels, truth = samples.levels
    np.testing.assert_allclose(panels.y[::2], [0.0, 0.1691, 0.2681], rtol=0, atol=2e-3)
    assert (panels.y[2::2] < truth.y[1:]).all()  # the cheap lift is 15 to 25 % low
    assert 0.1 < 1 - panels.y[4] / truth.y[2] < 0.3


@real
def test_pressure_fields_share_their_nodes_and_differ_in_their_inputs():
    pair = cp_field_pair(8, 4, 5, seed=7, execution=Execution(n_workers=2))
    low, high, test = pair.low, pair.high, pair.test
    assert low["pressure_coefficient"].dims == ("batch", "node")
    assert "reynolds" not in low.variables
    for data in (high, test):
        np.testing.assert_array_equal(data["node_x"], low["node_x"])
        assert ((data["reynolds"] > REYNOLDS[0]) & (data["reynolds"] < REYNOLDS[1])).all()
        assert ((data["angle_of_attack"] > ANGLES[0]) & (data["angle_of_attack"] < ANGLES[1])).all()
        assert np.isfinite(data["pressure_coefficient"]).all()
    n_lost = 4 + 5 - high.sizes["batch"] - test.sizes["batch"]
    assert (n_lost > 0) == bool(pair.notes)
    # one run in each of n strata
    np.testing.assert_array_equal(np.sort(np.floor(low["angle_of_attack"].values / 10 * 8)), np.arange(8))
    again, other = (cp_field_pair(8, n_high, 5, seed=seed) for n_high, seed in ((4, 7), (3, 8)))
    assert again.test.identical(test)
    assert not other.low.equals(low)
    wider = cp_field_pair(8, 4, 5, seed=7)
    assert wider.low.identical(low)
    assert level_of_runs("low", low, "pressure_coefficient", TRUTH, 0.05).columns == (0,)
