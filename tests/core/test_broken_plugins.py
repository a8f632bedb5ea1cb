"""A plugin or command that does not work is told, and nothing else suffers from it."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from throwaway import distribution, sciml_command, toy_distribution

OURS = [ep.name for ep in importlib.metadata.distribution("sciml-toolkit").entry_points if ep.group == "sciml.plugins"]
HOOK = "import sciml\n@sciml.hookimpl\ndef sciml_operators():\n    return {}\n"
CLASH = (
    'import sciml\n@sciml.hookimpl\ndef sciml_experiments():\n    return [sciml.Registration("toy", "a:b", "again")]\n'
)

BROKEN = {
    "import_error": ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
    "syntax_error": ("def broken(:", "SyntaxError: "),
    "system_exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "zero_division": ("1 / 0", "ZeroDivisionError: "),
    "hook_raises": (HOOK.format("[1 / 0]"), "ZeroDivisionError: "),
    "wrong_type": (HOOK.format('[{"name": "a"}]'), "hook sciml_operators: expected Registration objects, got dict"),
    "bad_target": (
        HOOK.format('[sciml.Registration("a", "module.attribute", "")]'),
        "expected a target 'module:attribute'",
    ),
    "no_spec": ("SCIML_API = 'nonsense'", "InvalidSpecifier: "),
    "clash": (CLASH, "the name 'toy' is taken: both 'x-toy' and 'x-zz_broken' register it"),
}


@pytest.fixture
def plugins(tmp_path):
    return toy_distribution(tmp_path / "site")


def commands_work(plugins, cwd, **env):
    """Assert that the light commands end well and list what works; return the records of `sciml plugins --json`."""
    for args in (("--help",), ("list",), ("plugins",)):
        done = sciml_command(*args, plugins=plugins, cwd=cwd, **env)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        if args == ("list",):
            assert any(line.split()[:3] == ["experiments", "toy", "toy"] for line in done.stdout.splitlines())
    return json.loads(sciml_command("plugins", "--json", plugins=plugins, cwd=cwd, **env).stdout)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_shown_with_its_reason_and_breaks_nothing(kind, plugins, tmp_path):
    text, reason = BROKEN[kind]
    distribution(plugins, "zz_broken", text)
    status = {p["name"]: p for p in commands_work(plugins, tmp_path)["plugins"]}
    assert status["toy"]["status"] == "ok"
    assert status["zz_broken"]["status"] == "broken"
    assert reason in status["zz_broken"]["reason"]
    assert status["zz_broken"]["distribution"] == "x-zz_broken"


def test_a_plugin_for_another_hook_api_is_incompatible(plugins, tmp_path):
    distribution(plugins, "zz_future", 'SCIML_API = ">=9"\n' + HOOK.format("[1 / 0]"))
    records = {p["name"]: p for p in commands_work(plugins, tmp_path)["plugins"]}
    assert records["zz_future"]["status"] == "incompatible"
    assert records["zz_future"]["reason"] == "wants hook API >=9, this is 1.0; update one of them"
    assert records["zz_future"]["registers"] == {}


@pytest.mark.parametrize("damage", ["no metadata", "no name", "no value", "not text"])
def test_a_distribution_with_damaged_metadata_is_shown_and_breaks_nothing(damage, plugins, tmp_path):
    distribution(plugins, "zz_damaged", "")
    info = plugins / "x_zz_damaged-1.0.dist-info"
    if damage == "no metadata":
        (info / "METADATA").unlink()
    elif damage == "no name":
        (info / "METADATA").write_text("Metadata-Version: 2.1\n")
    elif damage == "no value":
        (info / "entry_points.txt").write_text("[sciml.plugins]\nzz_damaged\n")
    else:
        (info / "entry_points.txt").write_bytes(b"[sciml.plugins]\nzz = \xff\xfe\n")
    broken = [p for p in commands_work(plugins, tmp_path)["plugins"] if p["status"] == "broken"]
    assert [p["distribution"] for p in broken] == [str(info)]
    assert "reinstall or remove it" in broken[0]["reason"]


def test_the_traceback_of_a_broken_plugin_is_shown_under_debug_only(plugins, tmp_path):
    distribution(plugins, "zz_broken", "import no_such_module_at_all")
    plain = sciml_command("plugins", "zz_broken", plugins=plugins, cwd=tmp_path)
    debug = sciml_command("plugins", "zz_broken", "--debug", plugins=plugins, cwd=tmp_path)
    assert (plain.returncode, debug.returncode) == (0, 0)
    assert "Traceback" not in plain.stdout
    assert "Traceback" in debug.stdout
    assert "import no_such_module_at_all" in debug.stdout


def test_running_an_experiment_of_a_broken_plugin_says_that_it_is_broken(plugins, tmp_path):
    distribution(plugins, "zz_broken", "import no_such_module_at_all")
    done = sciml_command("run", "zz_broken", plugins=plugins, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("experiment 'zz_broken': plugin 'zz_broken' is broken (ModuleNotFoundError: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("env", "ok"),
    [
        ({"SCIML_PLUGINS": "toy"}, {"toy"}),
        ({"SCIML_PLUGINS": ""}, set()),
        ({"SCIML_DISABLE_PLUGINS": ",".join([*OURS, "zz_broken"])}, {"toy"}),
        ({"SCIML_PLUGINS": "toy,zz_broken", "SCIML_DISABLE_PLUGINS": "toy"}, set()),
    ],
)
def test_switches_choose_the_plugins_that_are_loaded(env, ok, plugins, tmp_path):
    distribution(plugins, "zz_broken", "raise SystemExit(3)")
    done = sciml_command("plugins", "--json", plugins=plugins, cwd=tmp_path, **env)
    status = {p["name"]: p["status"] for p in json.loads(done.stdout)["plugins"]}
    assert {name for name, value in status.items() if value == "ok"} == ok
    assert {*OURS, "toy", "zz_broken"} == set(status)
    asked_for = "SCIML_PLUGINS" in env and "zz_broken" in env["SCIML_PLUGINS"]
    assert status["zz_broken"] == ("broken" if asked_for else "disabled")


def test_the_strict_switch_turns_a_broken_plugin_into_an_error(plugins, tmp_path):
    distribution(plugins, "zz_broken", "raise SystemExit(0)")
    strict = {"SCIML_STRICT_PLUGINS": "1"}
    done = sciml_command("list", plugins=plugins, cwd=tmp_path, **strict)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "plugin 'zz_broken' of 'x-zz_broken': expected it to load, got SystemExit: 0; "
        "repair it or unset SCIML_STRICT_PLUGINS\n"
    )
    assert "Traceback" in sciml_command("list", "--debug", plugins=plugins, cwd=tmp_path, **strict).stderr
    assert (
        sciml_command("list", plugins=plugins, cwd=tmp_path, SCIML_DISABLE_PLUGINS="zz_broken", **strict).returncode
        == 0
    )


COMMAND = "import click\n@click.command()\ndef hello():\n    '''Greet.'''\n    click.echo('hello')\n    return 7\n"


def test_a_command_of_a_package_runs_and_its_return_value_is_no_exit_status(plugins, tmp_path):
    distribution(plugins, "greeter", COMMAND, "[sciml.commands]\nhello = greeter:hello\n")
    done = sciml_command("hello", plugins=plugins, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "From x-greeter: see sciml hello --help." in sciml_command("--help", plugins=plugins, cwd=tmp_path).stdout


@pytest.mark.parametrize("text", ["import no_such_module_at_all", "raise SystemExit(0)", "hello = 3", ""])
def test_a_broken_command_is_one_sentence_and_leaves_the_others_alone(text, plugins, tmp_path):
    distribution(plugins, "greeter", text, "[sciml.commands]\nhello = greeter:hello\n")
    done = sciml_command("hello", plugins=plugins, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("command 'hello': expected a click command at greeter:hello of 'x-greeter', got ")
    assert done.stderr.count("\n") == 1
    commands_work(plugins, tmp_path)


def test_commands_that_clash_leave_the_core_and_the_first_in_place(plugins, tmp_path):
    distribution(plugins, "greeter", COMMAND, "[sciml.commands]\nlist = greeter:hello\nhello = greeter:hello\n")
    distribution(plugins, "zz_greeter", "raise SystemExit(1)", "[sciml.commands]\nhello = zz_greeter:hello\n")
    commands = commands_work(plugins, tmp_path)["commands"]
    clashes = {(c["name"], c["distribution"]): c["clash"] for c in commands}
    assert clashes["list", "x-greeter"] == "the name is taken by the core"
    assert clashes["hello", "x-zz_greeter"] == "the name is taken by 'x-greeter'"
    assert clashes["hello", "x-greeter"] == ""
    assert sciml_command("hello", plugins=plugins, cwd=tmp_path).stdout == "hello\n"
