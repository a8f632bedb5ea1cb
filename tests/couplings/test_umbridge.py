"""The UM-Bridge server by the protocol's public client, and the operator that asks such a server."""

from __future__ import annotations

import http.client
import json
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import xarray as xr
from click.testing import CliRunner
from sciml_couplings import cli
from sciml_couplings.umbridge_model import SurrogateModel
from small_surrogates import TrueSpring, membrane, spring, spring_inputs

from sciml import FieldSpec

umbridge = pytest.importorskip("umbridge", reason="needs the extra serve")
from sciml_couplings.umbridge_operator import UmbridgeOperator  # noqa: E402
from sciml_couplings.umbridge_server import serving  # noqa: E402

AT = [[0.3, -0.4], [2.0]]


@pytest.fixture(scope="module")
def url():
    models = {"forward": SurrogateModel(spring()), "membrane": SurrogateModel(membrane(), {"node": 8})}
    with serving(models, largest_body=2**16) as address:
        yield address


@pytest.fixture
def model(url):
    return umbridge.HTTPModel(url, "forward")


def refusal(url, path="Evaluate", status=400, **body):
    response = requests.post(f"{url}/{path}", json={"name": "forward", "input": AT, "config": {}, **body}, timeout=60)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    return response.json()["error"]["message"]


def test_evaluate_gives_what_predict_gives(model):
    assert (model.get_input_sizes(), model.get_output_sizes()) == ([2, 1], [1, 2])
    data = spring_inputs(1)
    wanted = spring().predict(data)
    found = model([data["position"].values[0].tolist(), data["stiffness"].values.tolist()])
    assert found == [wanted["energy"].values.tolist(), wanted["force"].values[0].tolist()]


def test_uncertainty_follows_the_outputs_where_asked_for(model):
    config = {"uncertainty": True}
    assert model.get_output_sizes(config) == [1, 2, 2]
    _, force, std = model(AT, config)
    np.testing.assert_allclose(std, 0.01 * np.abs(force), rtol=1e-12)


def test_outside_the_domain_is_refused_unless_allowed(model):
    far = [[3.0, 0.0], [2.0]]
    with pytest.raises(Exception, match=r"InvalidInput.*training domain"):
        model(far)
    assert model(far, {"outside": "allow"})[0] == [2.0 * 9 / 2 + 81 / 4]
    with pytest.raises(Exception, match="inside"):  # physical bounds hold whatever the caller allows
        model([[30.0, 0.0], [2.0]], {"outside": "allow"})


def test_gradient_agrees_with_central_differences(model):
    assert model.supports_gradient()
    rng, step = np.random.default_rng(7), 1e-5
    for out_wrt, n_out in ((0, 1), (1, 2)):
        sens = rng.normal(size=n_out)
        found = model.gradient(out_wrt, 0, AT, sens.tolist())
        for axis in range(2):
            ahead, behind = (np.array(AT[0], dtype=float) for _ in range(2))
            ahead[axis] += step
            behind[axis] -= step
            ends = [sens @ model([x.tolist(), AT[1]])[out_wrt] for x in (ahead, behind)]
            assert found[axis] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-8)


def test_jacobian_action_is_adjoint_to_the_gradient(model):
    rng = np.random.default_rng(8)
    for in_wrt, n_in in ((0, 2), (1, 1)):
        v, w = rng.normal(size=n_in), rng.normal(size=2)
        forward = w @ model.apply_jacobian(1, in_wrt, AT, v.tolist())
        assert forward == pytest.approx(v @ model.gradient(1, in_wrt, AT, w.tolist()), rel=1e-12)


def test_a_linear_surrogate_is_its_own_jacobian(url):
    model = umbridge.HTTPModel(url, "membrane")
    load = np.random.default_rng(9).normal(size=8).tolist()
    np.testing.assert_allclose(model.apply_jacobian(0, 0, [[0.0] * 8], load), model([load])[0], rtol=1e-12)


def test_every_request_of_eight_clients_is_answered_with_its_own_number(url):
    n_client, n_request = 8, 50
    wrong = []

    def ask(client):
        mine = umbridge.HTTPModel(url, "forward")
        for number in range(n_request):
            x = (client * n_request + number) / (n_client * n_request)
            found = mine([[x, 0.0], [2.0]])[0][0]
            if found != pytest.approx(x**2 + x**4 / 4, rel=1e-12):
                wrong.append((x, found))

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(n_client)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input": [[0.3, -0.4]]}, "expected 2 lists (position, stiffness), got 1"),
        ({"input": [[0.3], [2.0]]}, "position: expected 2 numbers, got 1"),
        ({"input": [[0.3, "-0.4"], [2.0]]}, "position: expected a flat list of 2 numbers"),
        ({"input": [[0.3, [1.0]], [2.0]]}, "position: expected a flat list of 2 numbers"),
        ({"input": [[0.3, None], [2.0]]}, "position: expected a flat list of 2 numbers"),
        ({"input": [[0.3, float("nan")], [2.0]]}, "position: expected finite numbers"),
        ({"input": "numbers"}, "expected 2 lists"),
        ({"config": {"colour": 1}}, "config: expected an object with some of outside"),
        ({"config": {"sizes": {"axis": 3}}}, "expected a length >= 1 of no dimension"),
        ({"config": []}, "config: expected an object"),
    ],
)  # fmt: skip
def test_wrong_request_is_refused_with_a_sentence(url, change, words):
    body = json.dumps({"name": "forward", "input": AT, "config": {}, **change})  # requests refuses NaN
    response = requests.post(f"{url}/Evaluate", data=body, timeout=60)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_wrong_derivatives_are_refused(url):
    assert "sens: expected 1 numbers, got 2" in refusal(url, "Gradient", outWrt=0, inWrt=0, sens=[1.0, 1.0])
    assert "vec: expected 2 numbers, got 1" in refusal(url, "ApplyJacobian", outWrt=0, inWrt=0, vec=[1.0])
    assert "inWrt below 2 and outWrt below 2" in refusal(url, "Gradient", outWrt=0, inWrt=2, sens=[1.0])
    assert "inWrt below 2" in refusal(url, "Gradient", outWrt="a", inWrt=0, sens=[1.0])
    assert "the key 'sens'" in refusal(url, "Gradient", outWrt=0, inWrt=0)


@pytest.mark.parametrize("body", ["{", "[1]", "", "\xff", "[" * 100000, '{"name": 1' + "0" * 5000 + "}"])
def test_malformed_json_is_refused(url, body):
    response = requests.post(f"{url}/Evaluate", data=body.encode("latin-1"), timeout=60)
    assert response.status_code == (413 if len(body) > 2**16 else 400)
    assert "request: expected" in response.json()["error"]["message"]


def test_unknown_charset_model_and_address_are_refused(url):
    strange = {"Content-Type": "application/json; charset=klingon"}
    assert requests.post(f"{url}/Evaluate", data="{}", headers=strange, timeout=60).status_code == 400
    assert "one of forward, membrane" in refusal(url, status=404, name="other")
    assert "got ['forward']" in refusal(url, status=404, name=["forward"])
    assert "POST /Evaluate" in refusal(url, path="ApplyHessian", status=404)
    assert requests.get(f"{url}/Evaluate", timeout=60).status_code == 405


def test_oversized_body_is_refused_before_it_is_read(url):
    assert "at most 65536 bytes" in refusal(url, status=413, input=[[0.0] * 100_000])
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.putrequest("POST", "/Evaluate")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders(b"x" * 2**17)
    assert connection.getresponse().status == 413  # of a terabyte that never comes
    connection.close()


def test_a_failing_network_takes_no_server_down():
    surrogate = spring()
    surrogate.network.forward = lambda **_: 1 / 0
    with serving({"forward": SurrogateModel(surrogate)}) as address:
        assert refusal(address, status=500) == "ZeroDivisionError: division by zero"
        assert requests.get(f"{address}/Info", timeout=60).json()["models"] == ["forward"]


def test_serve_listens_on_loopback_unless_told_otherwise(tmp_path, monkeypatch):
    spring().save(tmp_path / "spring")
    asked = {}
    monkeypatch.setattr("sciml_couplings.umbridge_server.serve", lambda models, **options: asked.update(options))
    result = CliRunner().invoke(cli.serve, [str(tmp_path / "spring"), "--port", "4321"])
    assert result.exit_code == 0, result.output
    assert asked == {"host": "127.0.0.1", "port": 4321, "n_thread": 2}
    with serving({"forward": SurrogateModel(spring())}) as address:
        assert urlsplit(address).hostname == "127.0.0.1"


def test_operator_behind_a_url_equals_the_surrogate_that_is_served(url):
    spec = spring().spec
    operator = UmbridgeOperator(url, spec.inputs, spec.outputs[:2])
    data = spring_inputs(5)
    xr.testing.assert_equal(operator(data), spring().predict(data)[["energy", "force"]].drop_attrs(deep=False))
    xr.testing.assert_allclose(operator(data), TrueSpring()(data), rtol=1e-12)
    with pytest.raises(ValueError, match="training domain"):
        operator(spring_inputs(3, scale=9.0))
    with pytest.raises(ValueError, match="expected 2 for"):
        UmbridgeOperator(url, (FieldSpec("a", ("batch",)), FieldSpec("b", ("batch",))), spec.outputs[:2])(
            xr.Dataset({"a": ("batch", [1.0]), "b": ("batch", [1.0])})
        )


def test_operator_says_what_is_wrong_with_its_server(url):
    spec = spring().spec
    with pytest.raises(ConnectionError, match="expected 1 inputs and 2 outputs, got 2 and 2"):
        UmbridgeOperator(url, spec.inputs[:1], spec.outputs[:2])
    with pytest.raises(ConnectionError, match="expected an UM-Bridge model 'other'"):
        UmbridgeOperator(url, spec.inputs, spec.outputs[:2], model="other")
    with pytest.raises(ConnectionError, match="start it"):
        UmbridgeOperator("http://127.0.0.1:9", spec.inputs, spec.outputs[:2])
