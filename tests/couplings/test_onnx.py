"""ONNX models give the network's numbers, keep its free dimensions, and know its units and domain."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr
from small_surrogates import Perceptron, Stubborn, perceptron, spring, spring_inputs
from test_c_export import NETWORKS

from sciml import FieldSpec, Network, Region, Spec, Surrogate
from sciml.testing import assert_all, check_operator, example_inputs

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
from sciml_couplings.onnx_export import MANIFEST, OnnxOperator, export_onnx  # noqa: E402


class Readings(Network):
    """Calls an operation of the kernels: the sum over segments of the squares of edge values."""

    registered = "small.readings"

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    @property
    def spec(self):
        return Spec(
            inputs=(FieldSpec("edge_value", ("batch", "edge"), "m", Region.interval(-9, 9)),),
            outputs=(FieldSpec("total", ("batch",), "m2"),),
        )

    @property
    def config(self):
        return {}

    def forward(self, edge_value):
        from sciml_kernels.segment_reduce import segment_reduce

        rows = (self.scale * edge_value**2).T.contiguous()
        ends = torch.stack([torch.zeros((), dtype=torch.long), torch.full((), rows.shape[0], dtype=torch.long)])
        return {"total": segment_reduce(rows, ends, "sum")[0]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "perceptron.onnx"
    export_onnx(perceptron(), path)
    return path


@pytest.mark.parametrize(("n_batch", "n_query"), [(1, 1), (1, 7), (2, 2), (33, 5)])
def test_onnx_runtime_gives_the_networks_numbers_at_every_size(path, n_batch, n_query):
    data = example_inputs(perceptron().spec, n_batch, 61, perceptron().domain, {"query": n_query})
    found, wanted = OnnxOperator(path)(data)["value"].values, perceptron().predict(data)["value"].values
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


def test_the_manifest_in_the_metadata_tells_spec_domain_and_units(path):
    (entry,) = [prop.value for prop in onnx.load(path).metadata_props if prop.key == MANIFEST]
    manifest = json.loads(entry)
    assert manifest["surrogate"] == "small.perceptron"
    assert Spec.from_json(manifest["spec"]) == perceptron().spec
    operator = OnnxOperator(path)
    assert operator.spec == perceptron().spec
    assert operator.domain == perceptron().domain


def test_an_onnx_model_keeps_the_contract_of_an_operator(path):
    data = example_inputs(perceptron().spec, 3, 62, perceptron().domain, {"query": 4})
    assert_all(check_operator(OnnxOperator(path), data))


def test_bad_inputs_of_an_onnx_model_are_refused(path):
    data = example_inputs(perceptron().spec, 3, 63, perceptron().domain)
    operator = OnnxOperator(path)
    far = data.assign(query=data["query"] + 3)
    far["query"].attrs["units"] = "s"
    with pytest.raises(ValueError, match=r"'query'.*training domain"):
        operator(far)
    with pytest.warns(UserWarning, match="training domain"):
        warned = OnnxOperator(path, outside="warn")(far)
    xr.testing.assert_equal(warned, OnnxOperator(path, outside="allow")(far))
    with pytest.raises(ValueError, match="components"):
        operator(data.assign(position=(("batch", "axis"), np.zeros((3, 3)), {"units": "m"})))


def test_double_precision_stays_double(tmp_path):
    export_onnx(spring(), tmp_path / "spring.onnx")
    data = spring_inputs(4)
    found, wanted = OnnxOperator(tmp_path / "spring.onnx")(data), spring().predict(data)
    for name in ("energy", "force", "force_std"):
        assert found[name].dtype == np.float64
        # the exporter keeps a number in the program text, here 0.01, in single precision
        rtol = 1e-7 if name.endswith("_std") else 1e-14
        np.testing.assert_allclose(found[name], wanted[name], rtol=rtol)


def test_an_operation_of_the_kernels_is_decomposed(tmp_path):
    surrogate = Surrogate(Readings())
    export_onnx(surrogate, tmp_path / "readings.onnx")
    domains = {node.domain for node in onnx.load(tmp_path / "readings.onnx").graph.node}
    assert not any(domain.startswith("sciml") for domain in domains)
    data = example_inputs(surrogate.spec, 4, 64, sizes={"edge": 9})
    found = OnnxOperator(tmp_path / "readings.onnx")(data)["total"]
    np.testing.assert_allclose(found, surrogate.predict(data)["total"], rtol=1e-5)


def test_large_weights_lie_beside_the_model(tmp_path):
    surrogate = Surrogate(Perceptron(n_hidden=128), domain=perceptron().domain)
    export_onnx(surrogate, tmp_path / "wide.onnx", large=2**12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wide.onnx", "wide.onnx.data"]
    assert (tmp_path / "wide.onnx.data").stat().st_size >= 128 * 128 * 4
    data = example_inputs(surrogate.spec, 2, 65, surrogate.domain)
    wanted = surrogate.predict(data)["value"].values
    np.testing.assert_allclose(
        OnnxOperator(tmp_path / "wide.onnx")(data)["value"], wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0
    )


def test_a_network_that_cannot_be_exported_says_why(tmp_path):
    surrogate = Surrogate(Stubborn(), domain=spring().domain)
    with pytest.raises(ValueError, match=r"'small\.stubborn': its number of iterations depends on the values"):
        export_onnx(surrogate, tmp_path / "stubborn.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_of_ours_is_refused(tmp_path, path):
    (tmp_path / "torn.onnx").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="expected an ONNX model"):
        OnnxOperator(tmp_path / "torn.onnx")
    with pytest.raises(ValueError, match="expected an ONNX model"):
        OnnxOperator(tmp_path / "absent.onnx")
    bare = onnx.load(path)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ValueError, match="expected the metadata"):
        OnnxOperator(tmp_path / "bare.onnx")


@pytest.mark.parametrize("name", ["deeponet", "learned_cycle", "predator"])
def test_network_of_a_plugin_is_exported_and_verified(name, tmp_path):
    make, sizes, _ = NETWORKS[name]
    export_onnx(Surrogate(make()), tmp_path / "network.onnx", sizes=sizes)  # compares at two sets of sizes
    assert OnnxOperator(tmp_path / "network.onnx").spec == make().spec


def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    make, sizes, _ = NETWORKS["kriging"]
    with pytest.raises(ValueError, match=r"got aten\.linalg_solve_triangular in 'mfuq\.model'; use --to c"):
        export_onnx(Surrogate(make()), tmp_path / "kriging.onnx", sizes=sizes)
    assert not list(tmp_path.iterdir())
