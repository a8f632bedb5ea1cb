"""Models behind addresses as levels: real servers, points that they refuse, and no server at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import requests
import xarray as xr

import sciml

pytest.importorskip("umbridge", reason="needs the extra serve")
pytest.importorskip("aiohttp", reason="needs the extra serve")
import served_functions


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, served_functions.__file__, str(port)], stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        while not answers(address):
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(address):
    try:
        return requests.get(f"{address}/Info", timeout=60).ok
    except requests.ConnectionError:
        return False


def study(tmp_path, urls, **more):
    overrides = {
        "problem": "urls",
        "urls.urls": ",".join(urls),
        "urls.n_run": "40,10",
        "urls.low": "0,0",
        "urls.high": "1,1",
        "urls.engines": "gp,cokriging",
        **more,
    }
    return sciml.run("mfuq", preset="quick", out=tmp_path / "run", device="cpu", overrides=overrides)


def test_two_served_models_give_a_surrogate_with_a_stated_error(url, tmp_path):
    found = study(tmp_path, [f"{url}/cheap", f"{url}/truth"])
    assert found.metrics["urls_rel"] < 0.5 * found.metrics["urls_alone_rel"]
    assert found.metrics["urls_rel"] < 0.05
    assert found.metrics["urls_n_failed"] == 0
    surrogate = sciml.load(found.folder / "surrogate")
    x = np.random.default_rng(4).random((50, 2))
    data = xr.Dataset({f"x{i + 1}": ("batch", x[:, i], {"units": "1"}) for i in range(2)})
    answer = surrogate.predict(data)["y"].values
    expected = np.array([served_functions.truth(*point) for point in x])
    assert np.linalg.norm(answer - expected) < 0.05 * np.linalg.norm(expected)


def test_points_that_a_server_refuses_are_left_out_and_told(url, tmp_path):
    found = study(tmp_path, [f"{url}/cheap", f"{url}/fragile"], **{"urls.engines": "cokriging"})
    # a fifth of the hypercubes of 10 and of 20 runs
    assert found.metrics["urls_n_failed"] == 6
    assert found.metrics["urls_rel"] < 0.1
    assert "without an answer" in (found.folder / "report.html").read_text()


def test_a_missing_server_is_told_in_a_sentence(tmp_path):
    nothing = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionError, match="expected an UM-Bridge model 'truth'"):
        study(tmp_path, [f"{nothing}/truth"], **{"urls.n_run": "10", "urls.costs": "1"})


def test_addresses_without_their_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="urls: expected different addresses, each with its n_run and cost"):
        study(tmp_path, ["http://a/x"])
    with pytest.raises(ValueError, match=r"urls\.urls: expected addresses"):
        sciml.run("mfuq", out=tmp_path / "none", device="cpu", overrides={"problem": "urls"})
