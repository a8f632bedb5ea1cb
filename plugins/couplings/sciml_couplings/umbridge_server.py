"""An UM-Bridge server for surrogates: loopback by default, bounded requests, clear errors, many clients at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sciml_couplings.umbridge_model import SurrogateModel

try:
    from aiohttp import web
except ImportError as error:  # pragma: no cover
    raise ImportError("serve: expected aiohttp, got none; pip install 'sciml-toolkit[serve]'") from error

PROTOCOL = 1.0
LOOPBACK = "127.0.0.1"
LARGEST_BODY = 16 * 2**20
"""Bytes of a request that are still read."""
Answer = Callable[[SurrogateModel, Mapping[str, Any]], Any]

ANSWERS: Mapping[str, Answer] = {
    "ModelInfo": lambda model, _: {
        "support": {
            "Evaluate": True,
            "Gradient": model.has_gradient,
            "ApplyJacobian": model.has_gradient,
            "ApplyHessian": False,
        }
    },
    "InputSizes": lambda model, body: {"inputSizes": model.input_sizes(body["config"])},
    "OutputSizes": lambda model, body: {"outputSizes": model.output_sizes(body["config"])},
    "Evaluate": lambda model, body: {"output": model.evaluate(body["input"], body["config"])},
    "Gradient": lambda model, body: {
        "output": model.gradient(body["outWrt"], body["inWrt"], body["input"], body["sens"], body["config"])
    },
    "ApplyJacobian": lambda model, body: {
        "output": model.apply_jacobian(body["outWrt"], body["inWrt"], body["input"], body["vec"], body["config"])
    },
}


def application(
    models: Mapping[str, SurrogateModel], *, largest_body: int = LARGEST_BODY, n_thread: int = 2
) -> web.Application:
    """Return the aiohttp application that answers for models by name.

    Parameters
    ----------
    models : name -> model; a single one is usually called "forward".
    largest_body : bytes of a request; longer ones are refused with status 413 before they are read whole.
    n_thread : requests that are computed at the same time; the others wait in order.

    *Contract*: every request gets one answer; an answer that is no result is ``{"error": {"type", "message"}}`` with
    status 400 (wrong request), 404 (unknown model or address), 413 (too large) or 500 (the model failed).
    """
    app = web.Application(client_max_size=largest_body, middlewares=[_errors_in_json])
    pool = ThreadPoolExecutor(n_thread, "surrogate")

    async def info(_: web.Request) -> web.Response:
        return web.json_response({"protocolVersion": PROTOCOL, "models": list(models)})

    def answering(answer: Answer) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                body = await request.json(loads=_object)
            except (LookupError, ValueError, RecursionError):  # an unknown charset, no JSON, or too deep
                return _error(400, "InvalidInput", "request: expected a JSON object, got something else; correct it")
            name = body.get("name")
            if not isinstance(name, str) or name not in models:
                wanted = f"one of {', '.join(models)}"
                return _error(404, "UnknownModel", f"name: expected {wanted}, got {name!r}; correct it")
            body = {"config": {}, **body}
            return await asyncio.get_running_loop().run_in_executor(pool, _respond, answer, models[name], body)

        return handle

    app.router.add_get("/Info", info)
    for name, answer in ANSWERS.items():
        app.router.add_post(f"/{name}", answering(answer))

    async def close(_: web.Application) -> None:
        pool.shutdown()

    app.on_cleanup.append(close)
    return app


@web.middleware
async def _errors_in_json(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPRequestEntityTooLarge:
        limit = request.app._client_max_size
        return _error(413, "RequestTooLarge", f"request: expected at most {limit} bytes, got more; send fewer numbers")
    except web.HTTPException as error:
        wanted = ", ".join(["GET /Info", *(f"POST /{name}" for name in ANSWERS)])
        return _error(error.status, "InvalidInput", f"request: expected {wanted}, got {request.method} {request.path}")


def _object(text: str) -> dict[str, Any]:
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("expected an object")
    return body


def _respond(answer: Answer, model: SurrogateModel, body: Mapping[str, Any]) -> web.Response:
    try:
        result = answer(model, body)
    except KeyError as error:
        return _error(400, "InvalidInput", f"request: expected the key {error.args[0]!r}, got none; add it")
    except (ValueError, TypeError) as error:
        return _error(400, "InvalidInput", str(error))
    except Exception as error:  # whatever a network raises must not take the server down
        return _error(500, "ModelError", f"{type(error).__name__}: {error}")
    try:
        return web.json_response(text=json.dumps(result, allow_nan=False))
    except ValueError:
        return _error(500, "ModelError", "output: expected finite numbers, got NaN or infinity; JSON has none")


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": message}}, status=status)


def serve(models: Mapping[str, SurrogateModel], *, host: str = LOOPBACK, port: int = 4242, n_thread: int = 2) -> None:
    """Answer for `models` by name at `host` and `port`, `n_thread` requests at a time, until interrupted."""
    web.run_app(application(models, n_thread=n_thread), host=host, port=port, print=None)


@contextlib.contextmanager
def serving(
    models: Mapping[str, SurrogateModel], *, largest_body: int = LARGEST_BODY, n_thread: int = 2
) -> Iterator[str]:
    """Answer in a thread of this process, on loopback, while the block runs; the value is the URL, on a free port.

    Parameters
    ----------
    models, largest_body, n_thread : see :func:`application`.
    """
    loop = asyncio.new_event_loop()
    app = application(models, largest_body=largest_body, n_thread=n_thread)
    runner = web.AppRunner(app, shutdown_timeout=1.0)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0).start()
        return int(runner.addresses[0][1])

    async def end() -> None:
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # of connections whose body never came
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, name="umbridge", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
