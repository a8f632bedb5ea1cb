from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import toys
import xarray as xr
from toys import Affine, affine_inputs

import sciml
from sciml import FieldSpec, Region, Registration, Spec, Surrogate, training_domain
from sciml.artifact import read_json, write_json


@pytest.fixture
def registered(register_plugin):
    names = [Registration(kind.registered, f"toys:{kind.__name__}", "a toy") for kind in toys.NETWORKS]
    register_plugin("toy", surrogates=names)


@pytest.fixture
def surrogate():
    network = Affine()
    return Surrogate(network, domain=training_domain(network.spec, affine_inputs()), provenance={"seed": 5})


def test_prediction_is_the_formula_of_the_network(surrogate):
    inputs = affine_inputs()
    network = surrogate.network
    weight, bias, mix = (tensor.detach().numpy() for tensor in (network.weight, network.bias, network.mix))
    hidden = np.tanh(inputs["position"].values @ weight + bias) * inputs["speed"].values[:, None]
    answer = surrogate.predict(inputs)
    np.testing.assert_allclose(answer["pressure"], hidden @ mix, rtol=1e-5)
    assert answer["pressure"].dims == ("batch", "time")
    assert answer["pressure"].attrs["units"] == "Pa"
    assert answer["pressure_std"].attrs["standard_name_modifier"] == "standard_error"
    np.testing.assert_array_equal(answer["time"], [0.0, 0.5])
    assert answer["time"].attrs["units"] == "s"
    assert answer.attrs["outside_training_domain"] == []


def test_prediction_keeps_the_coordinates_of_the_batch(surrogate):
    inputs = affine_inputs().assign_coords(batch=[10, 20, 30, 40], room=("batch", list("abcd")))
    answer = surrogate.predict(inputs)
    assert answer["batch"].values.tolist() == [10, 20, 30, 40]
    assert answer["room"].values.tolist() == list("abcd")


def test_prediction_reads_big_endian_integers_and_an_empty_batch(surrogate):
    inputs = affine_inputs()
    swapped = inputs.assign({name: array.astype(">f8").assign_attrs(array.attrs) for name, array in inputs.items()})
    assert surrogate.predict(swapped).equals(surrogate.predict(inputs))
    whole = inputs.assign(speed=("batch", np.array([1, 1, 2, 2]), {"units": "m/s"}))
    assert surrogate.predict(whole, outside="allow")["pressure"].shape == (4, 2)
    assert surrogate.predict(inputs.isel(batch=slice(0)))["pressure"].shape == (0, 2)


def test_prediction_cannot_be_used_to_change_the_weights():
    class Constant(Affine):
        def forward(self, position, speed):
            return {name: self.mix.expand(len(speed), 3, 2)[:, 0] for name in ("pressure", "pressure_std")}

    surrogate = Surrogate(Constant())
    before = surrogate.network.mix.detach().clone()
    surrogate.predict(affine_inputs())["pressure"].values[...] = 0.0
    assert torch.equal(surrogate.network.mix, before)


def test_fast_path_is_differentiable_and_equals_predict(surrogate):
    inputs = affine_inputs()
    position = torch.tensor(inputs["position"].values, dtype=torch.float32, requires_grad=True)
    outputs = surrogate(position=position, speed=torch.tensor(inputs["speed"].values, dtype=torch.float32))
    np.testing.assert_array_equal(outputs["pressure"].detach(), surrogate.predict(inputs)["pressure"])
    outputs["pressure"].sum().backward()
    assert position.grad is not None
    assert surrogate(inputs).equals(surrogate.predict(inputs))


def test_inputs_outside_the_training_domain_raise_warn_or_pass(surrogate):
    inputs = affine_inputs()
    far = inputs.assign(speed=(inputs["speed"] * 10).assign_attrs(units="m/s"))
    with pytest.raises(ValueError, match="retrain on a wider domain or pass outside='allow'") as caught:
        surrogate.predict(far)
    assert str(caught.value).startswith("input 'speed': expected values inside the training domain [")
    assert "(4 outside)" in str(caught.value)
    with pytest.warns(UserWarning, match="input 'speed': expected values inside the training domain"):
        warned = surrogate.predict(far, outside="warn")
    allowed = surrogate.predict(far, outside="allow")
    assert allowed.equals(warned)
    assert allowed.attrs["outside_training_domain"] == ["speed"]


def test_policy_that_is_none_is_refused(surrogate):
    with pytest.raises(ValueError, match="predict: expected outside= one of raise, warn, allow, got 'ignore'"):
        surrogate.predict(affine_inputs(), outside="ignore")


def test_bounds_hold_even_where_the_domain_is_ignored(surrogate):
    wrong = affine_inputs()
    wrong["speed"][0] = -1.0
    with pytest.raises(
        ValueError, match=r"input 'speed': expected values inside \[0, inf\] m s-1, got -1\. at index \(0,\)"
    ):
        surrogate.predict(wrong, outside="allow")


def test_training_domain_boxes_vectors_by_component_and_scalars_by_interval():
    inputs = affine_inputs()
    domain = training_domain(Affine().spec, inputs)
    position = inputs["position"].values
    assert domain["position"] == Region(((tuple(position.min(0)), tuple(position.max(0))),))
    assert domain["speed"] == Region.interval(float(inputs["speed"].min()), float(inputs["speed"].max()))


def test_domain_of_an_unknown_input_and_a_missing_output_are_refused():
    with pytest.raises(ValueError, match=r"Surrogate domain: expected names of inputs, got \['sped'\]"):
        Surrogate(Affine(), domain={"sped": Region.interval(0, 1)})

    class Mute(Affine):
        def forward(self, position, speed):
            return {"pressure": super().forward(position, speed)["pressure"]}

    with pytest.raises(ValueError, match=r"Mute\.forward: expected outputs \['pressure_std'\] too, got none"):
        Surrogate(Mute()).predict(affine_inputs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_then_loaded_is_equal_to_the_bit_in_both_precisions(registered, surrogate, tmp_path, dtype):
    surrogate.network.to(dtype)
    surrogate.save(tmp_path / "s")
    again = sciml.load(tmp_path / "s")
    assert again.predict(affine_inputs()).identical(surrogate.predict(affine_inputs()))
    assert again.predict(affine_inputs())["pressure"].dtype == np.dtype(str(dtype).removeprefix("torch."))
    assert again.domain == surrogate.domain
    assert again.provenance == {"seed": 5}
    assert again.supports == {"gradient", "uncertainty"}
    assert again.n_bytes == surrogate.n_bytes


def test_open_domain_survives_saving(registered, tmp_path):
    Surrogate(Affine(), domain={"speed": Region.interval(0.5, np.inf)}).save(tmp_path / "s")
    assert sciml.load(tmp_path / "s").domain == {"speed": Region.interval(0.5, np.inf)}
    assert "Infinity" not in (tmp_path / "s" / "manifest.json").read_text()


def test_loading_without_the_plugin_names_the_package(registered, sciml_plugins, surrogate, tmp_path):
    surrogate.save(tmp_path / "s")
    manifest = read_json(tmp_path / "s" / "manifest.json")
    write_json(tmp_path / "s" / "manifest.json", {**manifest, "surrogate": "sea.ice", "distribution": "sciml-sea-ice"})
    with pytest.raises(ValueError, match=r"needs the surrogate 'sea\.ice' of the package 'sciml-sea-ice'"):
        sciml.load(tmp_path / "s")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("config", {"n_features": 4}, "expected a configuration and weights of 'toy.affine', got a mismatch"),
        ("config", {"n_feature": 3}, "expected a configuration and weights of 'toy.affine', got a mismatch"),
        ("config", [], "got a mismatch"),
        ("config", {"n_features": 3, "times": [0.0, 0.7]}, "expected the spec that 'toy.affine' has in the installed"),
        ("spec", {"inputs": 3}, "got a mismatch"),
        ("domain", {"speed": {"boxes": [[["a"], [1]]]}}, "got a mismatch"),
        ("surrogate", ["x"], "needs the surrogate"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(registered, surrogate, tmp_path, key, value, expected):
    surrogate.save(tmp_path / "s")
    write_json(tmp_path / "s" / "manifest.json", {**read_json(tmp_path / "s" / "manifest.json"), key: value})
    with pytest.raises(ValueError, match="expected") as caught:
        sciml.load(tmp_path / "s")
    assert expected in str(caught.value)


def test_saving_an_unregistered_network_says_so(sciml_plugins, surrogate, tmp_path):
    with pytest.raises(LookupError, match=r"surrogate 'toy\.affine': expected a registered name, got an unknown one"):
        surrogate.save(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_output_that_is_not_finite_is_refused():
    network = copy.deepcopy(Affine())
    torch.nn.init.constant_(network.mix, float("nan"))
    with pytest.raises(ValueError, match="output 'pressure': expected finite numbers, got nan"):
        Surrogate(network).predict(affine_inputs())


def test_network_without_weights_predicts_in_single_precision():
    class Double(sciml.Network):
        registered = "toy.double"
        spec = Spec((FieldSpec("x", ("batch",)),), (FieldSpec("y", ("batch",)),))
        config = {}  # noqa: RUF012  stands in for a property

        def forward(self, x):
            return {"y": 2 * x}

    answer = Surrogate(Double()).predict(xr.Dataset({"x": ("batch", [1.0, 2.5])}))
    assert answer["y"].dtype == np.float32
    assert answer["y"].values.tolist() == [2.0, 5.0]
