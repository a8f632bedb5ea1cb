"""`sciml check`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import click

from sciml.cli.artifacts import require_artifact, unregistered_artifact
from sciml.cli.errors import debug_option
from sciml.cli.output import print_table


@click.command(
    epilog="\b\nExample:\n  sciml check acoustics\n  sciml check runs/acoustics/surrogate --target onnx --calls 1000"
)
@click.argument("name", metavar="NAME|ARTIFACT")
@click.option("--target", help="Check a saved surrogate as called in this way; see the names in .check of sciml list.")
@click.option("--calls", type=click.IntRange(1), default=10_000, show_default=True, help="Calls that must not leak.")
@click.option("--size", "sizes", type=(str, int), multiple=True, help="Length of a free dimension: --size sensor 64.")
@debug_option
def check(name: str, target: str | None, calls: int, sizes: tuple[tuple[str, int], ...]) -> None:
    """Run the conformance kit on a registered experiment or operator, or on a saved surrogate."""
    results = list(_checks(name) if target is None else _target_checks(name, target, calls, dict(sizes)))
    print_table(
        ("CHECK", "RESULT", "DETAIL"), [[r.name, "passed" if r.passed else "failed", r.detail] for r in results]
    )
    failed = [result.name for result in results if not result.passed]
    if failed:
        raise ValueError(
            f"check {name}: expected {len(results)} checks to pass, got {len(failed)} failed ({', '.join(failed)}); "
            "see the details above"
        )


def _target_checks(name: str, target: str, n_calls: int, sizes: dict[str, int]) -> list[Any]:
    from sciml.plugins import plugins
    from sciml.surrogate import load

    found = [entry.removesuffix(".check") for entry in plugins().entries["couplings"] if entry.endswith(".check")]
    names = {entry.rpartition(".")[2]: f"{entry}.check" for entry in found}
    if target not in names:
        raise ValueError(f"check: expected a target of {', '.join(sorted(names))}, got {target!r}; choose one")
    checks = plugins().resolve("couplings", names[target])
    results: list[Any] = checks(load(require_artifact(name)), n_calls, sizes=sizes or None)
    return results


def _checks(name: str) -> Iterator[Any]:
    from sciml.plugins import plugins

    folder = unregistered_artifact(name)
    if folder is not None:
        from sciml.surrogate import load
        from sciml.testing import check_surrogate

        yield from check_surrogate(load(folder))
        return
    entries = plugins().entries
    if name in entries["surrogates"] and not (name in entries["operators"] or name in entries["experiments"]):
        raise ValueError(
            f"check {name!r}: expected trained weights, got a surrogate's registered name; give a saved one's folder"
        )
    if name in entries["operators"]:
        from sciml.testing import check_operator

        yield from check_operator(_made(name, plugins().resolve("operators", name)))
    if name in entries["experiments"] or name not in entries["operators"]:
        experiment = plugins().resolve("experiments", name)
        from sciml.testing import check_experiment

        yield from check_experiment(experiment())


def _made(name: str, operator: Callable[..., Any]) -> Any:
    given = inspect.signature(operator).parameters.values()
    needed = [p.name for p in given if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed:
        raise ValueError(
            f"check {name!r}: expected an operator that is made without arguments, got one that needs "
            f"{', '.join(needed)}; make it in a script and call sciml.testing.check_operator"
        )
    return operator()
