"""How many UM-Bridge requests are answered, and how fast, when several clients ask at once."""

from __future__ import annotations

import threading
import time

import numpy as np

from sciml import Surrogate
from sciml_couplings.sample import Sample
from sciml_couplings.umbridge_model import SurrogateModel
from sciml_couplings.umbridge_server import serving


def many_requests(surrogate: Surrogate, *, n_request: int = 10_000, n_client: int = 8) -> dict[str, float]:
    """Count the answers to requests from clients that ask at the same time, each in a thread of its own.

    Parameters
    ----------
    surrogate : what is served; without free dimensions.
    n_request : of all clients together.
    n_client : asking at the same time through the public client.

    Returns
    -------
    ``n_lost`` requests without the one right answer, ``n_request``, ``cpu_ms_per_request`` of server and clients
    together and ``wall_s``.
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
        "n_lost": n_request - sum(n_right),
        "n_request": n_request,
        "cpu_ms_per_request": 1e3 * cpu / n_request,
        "wall_s": wall,
    }
