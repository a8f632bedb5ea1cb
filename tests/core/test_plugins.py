from __future__ import annotations

import importlib.metadata
import sys
import types

import pytest
from toys import Pendulum

from sciml import Registration, catalogue, hookimpl
from sciml.plugins import PluginError, Plugins


class Distribution:
    def __init__(self, name, version="1.0"):
        self.name, self.version = name, version


def entry_point(name, module, distribution="third-party"):
    point = importlib.metadata.EntryPoint(name, module, "sciml.plugins")
    vars(point).update(dist=Distribution(distribution))
    return point


@pytest.fixture
def make(monkeypatch):
    """Give a function that makes an importable hook module and its entry point."""

    def make(name, *, distribution="third-party", api=None, fail=None, **registrations):
        module = types.ModuleType(f"made_{name}")
        if api is not None:
            module.SCIML_API = api
        for kind, items in registrations.items():
            setattr(module, f"sciml_{kind}", hookimpl(lambda items=items: items))
        if fail is None:
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return entry_point(name, module.__name__, distribution)

    return make


def one(name, target="toys:Pendulum", **more):
    return [Registration(name, target, "a toy", **more)]


def test_registered_target_is_imported_when_resolved(make):
    plugins = Plugins([make("toy", operators=one("toy.pendulum"), api=">=1,<2")])
    assert [plugin.status for plugin in plugins.plugins] == ["ok"]
    assert plugins.resolve("operators", "toy.pendulum") is Pendulum
    assert plugins.distribution_of("operators", "toy.pendulum") == "third-party"


def test_broken_plugin_is_recorded_and_the_others_work(make):
    broken = [
        make("absent", fail=True),
        make("typed", operators=["text"]),
        make("aimless", operators=one("a", target="toys")),
    ]
    plugins = Plugins([*broken, make("good", operators=one("good"))])
    status = {plugin.name: (plugin.status, plugin.reason) for plugin in plugins.plugins}
    assert status["absent"] == ("broken", "ModuleNotFoundError: No module named 'made_absent'")
    assert "hook sciml_operators: expected Registration objects, got str 'text'" in status["typed"][1]
    assert "expected a target 'module:attribute', got 'toys'" in status["aimless"][1]
    assert status["good"] == ("ok", "")
    assert "Traceback" in next(plugin.details for plugin in plugins.plugins if plugin.name == "absent")
    assert list(plugins.entries["operators"]) == ["good"]


def test_module_that_exits_on_import_does_not_end_the_host(tmp_path, monkeypatch):
    (tmp_path / "leaving_module.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = Plugins([entry_point("leaving", "leaving_module")])
    assert plugins.plugins[0].status == "broken"
    assert plugins.plugins[0].reason == "SystemExit: 3"


def test_misspelt_hook_is_named_with_the_known_ones(make):
    plugins = Plugins([make("typo", operator=one("x"))])
    assert plugins.plugins[0].status == "broken"
    assert (
        "plugin 'typo', hook sciml_operator: expected one of sciml_experiments, sciml_operators"
        in plugins.plugins[0].reason
    )


def test_name_clash_names_both_distributions_and_keeps_the_first(make):
    plugins = Plugins(
        [make("b", distribution="beta", operators=one("x")), make("a", distribution="alpha", operators=one("x"))]
    )
    first, second = plugins.plugins
    assert (first.status, second.status) == ("ok", "broken")
    assert "the name 'x' is taken: both 'alpha' and 'beta' register it; disable one of them" in second.reason
    assert plugins.entry("operators", "x").plugin is first
    assert Plugins([make("c", operators=one("y") + one("y"))]).plugins[0].status == "broken"


def test_our_own_plugins_win_the_name_over_third_parties(make):
    stranger, ours = make("aaa", operators=one("x")), make("zzz", distribution="sciml-toolkit", operators=one("x"))
    assert Plugins([stranger, ours]).distribution_of("operators", "x") == "sciml-toolkit"


def test_plugin_with_a_clash_registers_nothing_at_all(make):
    plugins = Plugins([make("a", operators=one("x")), make("b", operators=one("free") + one("x"))])
    assert list(plugins.entries["operators"]) == ["x"]


@pytest.mark.parametrize(("api", "status"), [(">=1,<2", "ok"), (">=2", "incompatible"), ("nonsense", "broken")])
def test_hook_version_is_compared(make, api, status):
    assert Plugins([make("toy", api=api)]).plugins[0].status == status


def test_switches_choose_plugins(make, monkeypatch):
    def loaded():
        found = Plugins([make("a", operators=one("a")), make("b", operators=one("b"))])
        return sorted(found.entries["operators"])

    monkeypatch.setenv("SCIML_PLUGINS", "a, b")
    monkeypatch.setenv("SCIML_DISABLE_PLUGINS", "b")
    assert loaded() == ["a"]
    monkeypatch.setenv("SCIML_PLUGINS", "")
    assert loaded() == []
    monkeypatch.delenv("SCIML_PLUGINS")
    monkeypatch.delenv("SCIML_DISABLE_PLUGINS")
    assert loaded() == ["a", "b"]


def test_strict_switch_raises_what_broke(make, monkeypatch):
    monkeypatch.setenv("SCIML_STRICT_PLUGINS", "1")
    with pytest.raises(
        PluginError, match="plugin 'absent' of 'third-party': expected it to load, got ModuleNotFoundError"
    ):
        Plugins([make("absent", fail=True)])


def test_unknown_broken_disabled_and_missing_are_told_apart(make, monkeypatch):
    monkeypatch.setenv("SCIML_DISABLE_PLUGINS", "off")
    needy = one("good.extra", requires=("no_such_module",), extra="extra")
    lost = one("good.zebra", target="toys:NoSuchClass")
    plugins = Plugins([make("bad", fail=True), make("off"), make("good", operators=one("good.one") + needy + lost)])

    def sentence(name):
        with pytest.raises(PluginError) as caught:
            plugins.resolve("operators", name)
        return str(caught.value)

    assert (
        sentence("good.on")
        == "operator 'good.on': expected a registered name, got an unknown one; did you mean good.one?"
    )
    assert sentence("zzz").endswith("see `sciml list` and `sciml plugins`")
    assert sentence("bad.thing").startswith("operator 'bad.thing': plugin 'bad' is broken (ModuleNotFoundError")
    assert sentence("off.thing").startswith("operator 'off.thing': plugin 'off' is disabled")
    assert sentence("good.extra") == "operator 'good.extra' needs no_such_module: pip install 'third-party[extra]'"
    assert "expected 'toys:NoSuchClass' of 'third-party', got AttributeError" in sentence("good.zebra")


def test_submodule_of_an_absent_package_counts_as_missing(make):
    plugins = Plugins([make("toy", operators=one("toy", requires=("no_such_package.part",)))])
    assert plugins.entry("operators", "toy").missing == "needs no_such_package.part: pip install 'third-party'"


def test_fixture_gives_an_empty_set_that_everybody_sees(sciml_plugins, register_plugin):
    assert catalogue() == []
    register_plugin("toy", operators=one("toy.pendulum"), surrogates=one("toy.affine", target="toys:Affine"))
    assert [(entry.kind, entry.name) for entry in catalogue()] == [
        ("operators", "toy.pendulum"),
        ("surrogates", "toy.affine"),
    ]
    assert [plugin.name for plugin in sciml_plugins.plugins] == ["toy"]
    with pytest.raises(ValueError, match=r"the name 'toy\.pendulum' is taken"):
        register_plugin("again", operators=one("toy.pendulum"))
    assert len(sciml_plugins.plugins) == 1


def test_installed_plugins_come_back_after_the_fixture():
    assert "toy.pendulum" not in [entry.name for entry in catalogue()]


def test_a_plugin_may_return_nothing(make):
    assert Plugins([make("quiet", operators=None)]).plugins[0].status == "ok"
