"""The kit itself: what is right passes every sentence, what is wrong fails the sentence that it breaks."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import toys
import xarray as xr
from toys import Affine, Pendulum, Smoothing, affine_inputs, pendulum_inputs

from sciml import FieldSpec, Region, Registration, Results, Spec, Surrogate, training_domain
from sciml.testing import (
    Check,
    assert_all,
    check_dataset,
    check_experiment,
    check_operator,
    check_plugin_import_is_light,
    check_surrogate,
    example_inputs,
)
from sciml.testing.checks import require_close


@pytest.fixture
def registered(register_plugin):
    names = [Registration(kind.registered, f"toys:{kind.__name__}", "a toy") for kind in toys.NETWORKS]
    register_plugin("toy", surrogates=names)


def broken(checks):
    return [check.name for check in checks if not check.passed]


def test_assert_all_lists_every_broken_sentence():
    checks = [Check("a", True), Check("b", False, "expected 1, got 2"), Check("c", False, "expected x")]
    with pytest.raises(AssertionError) as caught:
        assert_all(checks)
    assert str(caught.value) == "b: expected 1, got 2\nc: expected x"
    assert_all(checks[:1])


@pytest.mark.parametrize("inputs", [None, pendulum_inputs()])
def test_right_operator_passes_with_given_and_with_drawn_inputs(inputs):
    checks = check_operator(Pendulum(), inputs)
    assert_all(checks)
    assert len(checks) == 8 + 2 * 5
    assert_all(check_operator(Smoothing()))


@pytest.mark.parametrize("kind", toys.BROKEN, ids=lambda kind: kind.__name__)
def test_wrong_operator_fails_the_sentence_that_it_breaks(kind):
    assert toys.BROKEN[kind] in broken(check_operator(kind()))


@pytest.mark.parametrize("kind", [toys.BatchDependent, toys.Restless, toys.Averaging])
def test_wrong_operator_fails_nothing_else(kind):
    assert broken(check_operator(kind())) == [toys.BROKEN[kind]]


def test_kit_leaves_the_given_inputs_alone_even_if_the_operator_does_not():
    inputs = pendulum_inputs()
    kept = inputs.copy(deep=True)
    check_operator(toys.Mutating(), inputs)
    assert inputs.identical(kept)


def test_spec_with_a_unit_or_an_error_that_make_no_sense_is_named():
    class Nonsense(Pendulum):
        spec = Spec((FieldSpec("length", ("batch",), "furlongg"),), (FieldSpec("angle", ("batch",), "rad"),))

    class Lonely(Pendulum):
        spec = Spec((FieldSpec("length", ("batch",), "m"),), (FieldSpec("angle_std", ("batch",), "rad"),))

    for operator, word in ((Nonsense(), "furlongg"), (Lonely(), "expected an output 'angle' beside it")):
        (check,) = check_operator(operator)
        assert not check.passed
        assert word in check.detail


@pytest.mark.parametrize("given", [False, True])
def test_right_surrogate_passes_every_sentence(registered, given):
    network = Affine()
    inputs = affine_inputs() if given else None
    domain = training_domain(network.spec, affine_inputs()) if given else None
    checks = check_surrogate(Surrogate(network, domain=domain), inputs)
    assert_all(checks)
    assert len(checks) == 8 + 2 * 5 + 10


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (toys.WrongGradient, "the gradient agrees with central differences"),
        (toys.NegativeError, "standard errors are not negative"),
        (toys.Normalizing, "a batch gives what its members give one by one"),
        (toys.Opaque, "the configuration is JSON and rebuilds an equal network"),
    ],
)
def test_wrong_surrogate_fails_exactly_the_sentence_that_it_breaks(registered, kind, sentence):
    assert broken(check_surrogate(Surrogate(kind()))) == [sentence]


def test_unregistered_surrogate_fails_what_needs_its_folder(sciml_plugins):
    names = broken(check_surrogate(Surrogate(Affine())))
    assert "saved then loaded is equal to the bit" in names
    assert all("folder" in name or "loaded" in name for name in names)


def test_surrogate_that_forgets_a_weight_is_caught(registered, monkeypatch):
    class Forgetful(Affine):
        def state_dict(self, *args, **kwargs):
            return {**super().state_dict(*args, **kwargs), "bias": self.bias.detach() * 0}

    assert broken(check_surrogate(Surrogate(Forgetful()))) == ["saved then loaded is equal to the bit"]


def test_example_inputs_lie_in_bounds_or_domain_and_repeat():
    spec = Affine().spec
    inputs = example_inputs(spec, 50, 31)
    assert spec.check_inputs(inputs).sizes == {"batch": 50, "axis": 2}
    assert inputs.identical(example_inputs(spec, 50, 31))
    assert not inputs.identical(example_inputs(spec, 50, 32))
    domain = {"position": Region((((0.1, 0.2), (0.3, 0.4)),)), "speed": Region.interval(2.0, 2.5)}
    drawn = example_inputs(spec, 50, 31, domain)
    assert domain["position"].contains(drawn["position"].values).all()
    assert domain["speed"].contains(drawn["speed"].values[:, None]).all()


def test_example_inputs_share_dimensions_and_space_coordinates_evenly():
    inputs = example_inputs(toys.SPEC, 4, 31, sizes={"time": 7})
    assert inputs.sizes == {"batch": 4, "time": 7}
    np.testing.assert_allclose(inputs["time"], np.linspace(0.0, 20.0, 7))
    functions = example_inputs(Smoothing().spec, 2, 31)
    assert functions["f"].sizes["node"] == functions["x"].sizes["node"] == 5


def test_experiment_without_help_or_frozen_settings_is_caught():
    @dataclasses.dataclass
    class Loose:
        n: int = 3

    class Wrong(toys.Toy):
        presets = {"default": Loose()}  # noqa: RUF012  stands in for a property

    names = broken(check_experiment(Wrong()))
    assert "the presets 'default' and 'quick' exist" in names
    assert "presets are frozen dataclasses of one kind" in names
    assert "every setting has a help text" in names
    assert broken(check_experiment(toys.Toy())) == []


def test_experiment_given_as_an_instance_cannot_be_run():
    assert broken(check_experiment(toys.Toy(), run_quick=True)) == ["a quick run ends"]


class CarelessReport:
    def write(self, folder, footer=None):
        (folder / "plots").mkdir()
        (folder / "plots" / "loss.png").write_text("no picture")
        page = '<a href="https://example.org">fine</a><style>@import "theme.css"</style><img src="plots/loss.png">'
        (folder / "report.html").write_text(page)


def test_run_folder_with_references_or_odd_metrics_is_caught(register_plugin, monkeypatch, tmp_path):
    class Careless(toys.Toy):
        def run(self, config, run):
            return Results(metrics={"loss": float("nan"), "n": 3}, report=CarelessReport())

    monkeypatch.setattr(toys, "Careless", Careless, raising=False)
    register_plugin("toy", experiments=[Registration("careless", "toys:Careless", "a toy")])
    checks = check_experiment("careless", run_quick=True, out=tmp_path / "run")
    assert {check.name: check.detail for check in checks if not check.passed} == {
        "metrics.json is flat and holds numbers": "expected finite numbers, got others for loss",
        "report.html opens offline": "expected everything inside the file, got references to plots/loss.png, theme.css",
        "plots are PNG files": "expected PNG files, got loss.png",
    }


@pytest.fixture
def dataset(tmp_path):
    def write(name, simulations, **changes):
        data = xr.Dataset(
            {"p": ("batch", np.arange(len(simulations), dtype=float), {"units": "Pa"})},
            coords={"simulation": ("batch", simulations)},
        ).assign(changes)
        data.to_netcdf(tmp_path / name, engine="h5netcdf")

    (tmp_path / "README.md").write_text("# A card\n")
    write("train.nc", [1, 1, 2])
    write("test.nc", [3, 4])
    return tmp_path, write


def test_dataset_that_is_right_passes(dataset):
    folder, _ = dataset
    assert_all(check_dataset(folder))
    assert check_dataset(str(folder))[-1].detail == "test: 2 simulations, train: 2 simulations"


def test_dataset_faults_are_caught(dataset):
    folder, write = dataset
    write("test.nc", [2, 3])
    assert broken(check_dataset(folder)) == ["no simulation is in two splits"]
    write("test.nc", [3, 4], q=("batch", np.array([1.0, np.nan])))
    assert broken(check_dataset(folder)) == ["every variable has a unit", "every number is finite"]
    (folder / "test.nc").write_bytes((folder / "test.nc").read_bytes()[:300])
    (folder / "README.md").unlink()
    assert broken(check_dataset(folder)) == ["the folder has a card", "test.nc opens"]


def test_dataset_in_one_file_names_its_splits_in_a_variable():
    def whole(splits):
        p = ("batch", np.ones(4), {"units": "Pa"})
        coords = {"simulation": ("batch", [1, 1, 2, 2]), "split": ("batch", splits)}
        return {"all.nc": xr.Dataset({"p": p}, coords=coords)}

    assert_all(check_dataset(whole(["train", "train", "test", "test"])))
    assert broken(check_dataset(whole(["train", "test", "test", "test"]))) == ["no simulation is in two splits"]


def test_heavy_hook_module_is_caught(tmp_path, monkeypatch):
    (tmp_path / "light_hooks.py").write_text("from sciml import Registration, hookimpl\n")
    (tmp_path / "heavy_hooks.py").write_text("import xarray\n")
    (tmp_path / "bad_hooks.py").write_text("raise RuntimeError('no')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert_all(check_plugin_import_is_light("light_hooks"))
    (heavy,) = check_plugin_import_is_light("heavy_hooks")
    assert "got xarray, pandas; import it where it is used" in heavy.detail
    assert check_plugin_import_is_light("bad_hooks") == [
        Check("importing bad_hooks is light", False, "RuntimeError: no")
    ]


def test_pytest_plugin_is_light():
    assert_all(check_plugin_import_is_light("sciml.testing.pytest_plugin"))


def test_every_public_name_resolves():
    code = (
        "import sciml, sciml.testing\n"
        "for module in (sciml, sciml.testing):\n"
        "    assert all(getattr(module, name) is not None for name in module.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_values_must_stand_in_the_same_places():
    one = xr.Dataset({"lift": ("batch", [1.0, np.nan, 3.0])})
    require_close(one, one.copy(deep=True))
    require_close(one + 1e-14, one)
    with pytest.raises(AssertionError, match="got inf"):
        require_close(one.fillna(2.0), one)
    with pytest.raises(AssertionError, match=r"got 1\.00e\+00"):
        require_close(one + 1, one)
