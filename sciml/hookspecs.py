"""The hooks of a plugin: each returns light registrations with "module:attribute" strings, never classes.

A plugin is a module named by an entry point of the group "sciml.plugins". It imports nothing heavy and implements any
of the hooks below with ``@sciml.hookimpl``. It may set ``SCIML_API`` to the hook versions it was written for.
"""

from __future__ import annotations

from dataclasses import dataclass

import pluggy

HOOK_API = "1.0"
GROUP = "sciml.plugins"
KINDS = ("experiments", "operators", "surrogates", "datasets", "couplings")

hookspec = pluggy.HookspecMarker("sciml")
hookimpl = pluggy.HookimplMarker("sciml")


@dataclass(frozen=True)
class Registration:
    """One thing that a plugin offers.

    Parameters
    ----------
    name : what users type: the plugin's name, or "plugin.thing".
    target : "module:attribute", imported when first used.
    summary : one line for `sciml list`.
    requires : modules beyond the base dependencies that the target needs.
    extra : the optional-dependency group of `distribution` that brings them.
    """

    name: str
    target: str
    summary: str
    requires: tuple[str, ...] = ()
    extra: str = ""


class Hooks:
    """Signatures of the hooks; every one is optional."""

    @hookspec
    def sciml_experiments(self) -> list[Registration]:  # type: ignore[empty-body]
        """Return what `sciml run NAME` runs; a target is a subclass of `sciml.Experiment`."""

    @hookspec
    def sciml_operators(self) -> list[Registration]:  # type: ignore[empty-body]
        """Return truth solvers; a target is a callable without required arguments that gives a `sciml.Operator`."""

    @hookspec
    def sciml_surrogates(self) -> list[Registration]:  # type: ignore[empty-body]
        """Return trainable maps; a target is a subclass of `sciml.Network`."""

    @hookspec
    def sciml_datasets(self) -> list[Registration]:  # type: ignore[empty-body]
        """Return data sets.

        A target is a `sciml_datasets.DatasetSource`, or a callable without arguments that gives one.
        """

    @hookspec
    def sciml_couplings(self) -> list[Registration]:  # type: ignore[empty-body]
        """Return export targets; a target is a function (surrogate, path, *, sizes=None) that writes what others call.

        Where the name ends in ".check", it is a function (surrogate, n_calls) that returns checks of that target.
        """
