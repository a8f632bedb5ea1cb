"""How many UM-Bridge requests are answered, how fast, and what is refused."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sciml import Surrogate
from sciml_couplings.sample import Sample
from sciml_couplings.umbridge_model import SurrogateModel
from sciml_couplings.umbridge_server import serving

LARGEST_BODY = 2**16  # bytes that the server of the refusals reads


def many_requests(surrogate: Surrogate, *, n_request: int = 10_000, n_client: int = 8) -> dict[str, float]:
    """Count the answers to requests from clients that ask at the same time, each in a thread of its own.

    Parameters
    ----------
    surrogate : what is served; without free dimensions.
    n_request : of all clients together.
    n_client : asking at the same time through the public client.

    Returns
    -------
    Requests without the one right answer, requests, answers in a second, and CPU milliseconds of a request, of server
    and clients together.
    """
    import umbridge

    middle = [array.ravel().tolist() for array in Sample(surrogate).middle().values()]
    n_right = [0] * n_client
    with serving({"forward": SurrogateModel(surrogate)}) as url:
        wanted = np.concatenate(umbridge.HTTPModel(url, "forward")(middle))

        def ask(client: int) -> None:
            model = umbridge.HTTPModel(url, "forward")
            for _ in range(client, n_request, n_client):
                n_right[client] += np.array_equal(np.concatenate(model(middle)), wanted)

        threads = [threading.Thread(target=ask, args=(client,)) for client in range(n_client)]
        cpu, wall = time.process_time(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "coupling_umbridge_lost": n_request - sum(n_right),
        "coupling_umbridge_requests": n_request,
        "coupling_umbridge_calls_per_s": sum(n_right) / wall,
        "coupling_umbridge_cpu_ms": 1e3 * cpu / n_request,
    }


def refusals(surrogate: Surrogate) -> dict[str, tuple[int, int]]:
    """Return for each wrong request the status that it should get, and the one that it got.

    Parameters
    ----------
    surrogate : what is served, with a limit of 64 KiB on a request; without free dimensions.
    """
    good = [array.ravel().tolist() for array in Sample(surrogate).middle().values()]
    bodies: dict[str, tuple[int, Any]] = {
        "no JSON": (400, "{"),
        "no object": (400, [1]),
        "an input too few": (400, {"name": "forward", "input": good[1:]}),
        "a number too many": (400, {"name": "forward", "input": [[*good[0], 0.0], *good[1:]]}),
        "not a number": (400, {"name": "forward", "input": [[float("nan")] * len(good[0]), *good[1:]]}),
        "words": (400, {"name": "forward", "input": [["much"] * len(good[0]), *good[1:]]}),
        "outside the training domain": (400, {"name": "forward", "input": [[1e9] * len(good[0]), *good[1:]]}),
        "another model": (404, {"name": "other", "input": good}),
        "100,000 numbers": (413, {"name": "forward", "input": [[0.0] * 100_000, *good[1:]]}),
    }
    with serving({"forward": SurrogateModel(surrogate)}, largest_body=LARGEST_BODY) as url:
        address = urlsplit(url).netloc
        found = {name: (status, _status(address, body)) for name, (status, body) in bodies.items()}
        found["a terabyte announced"] = (413, _status(address, "x" * (2 * LARGEST_BODY), 10**12))
        found["a right request after all these"] = (200, _status(address, {"name": "forward", "input": good}))
    return found


def _status(address: str, body: Any, length: int | None = None) -> int:
    """Post a body, announced to be of `length` bytes; what breaks off without an answer has the status zero."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.putrequest("POST", "/Evaluate")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(length or len(data)))
        connection.endheaders(data)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
