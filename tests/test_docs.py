"""What is public is explained where one looks for it, and what is shown runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path

import click
import pytest
from sciml_kernels import ops

import sciml
from sciml.cli.commands import CORE, load_command, package_commands
from sciml.hookspecs import KINDS, Hooks

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SETUP = (
    "pip install -c constraints.txt -e . && sciml run acoustics",
    "pip install -c constraints.txt -e '.[test]' && pytest",
)
ROOTS = ("", "kernels", "datasets", *(f"plugins/{path.name}" for path in (ROOT / "plugins").iterdir() if path.is_dir()))
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if any(path.glob("sciml_*/hooks.py")))
KERNELS = sorted(path.parent for path in (ROOT / "kernels" / "sciml_kernels").glob("*/reference.py"))


def headings(path):
    return {line.lstrip("#").strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")}


def parameters(item):
    """Return what a caller gives by name or position: of a class, to its constructor."""
    try:
        given = inspect.signature(item).parameters.values()
    except (TypeError, ValueError):
        return []
    own = [p.name for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and not p.name.startswith("_")]
    return [name for name in own if name not in ("self", "cls")]


def unexplained(item):
    """Return the parameters that the docstring leaves out; words will do: dimensions for dims, steps for n_steps."""
    text = (inspect.getdoc(item) or "").lower()
    words = {name: name.removeprefix("n_").rstrip("s").replace("_", "[ _]") for name in parameters(item)}
    return [name for name, word in words.items() if not re.search(rf"\b{word}", text)]


def commands():
    """Yield (words, command) for every command and sub-command."""
    found = [((name,), load_command(name)) for name in (*CORE, *(c.name for c in package_commands() if not c.clash))]
    while found:
        words, command = found.pop(0)
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=" ".join(words))
            found += [((*words, name), command.get_command(context, name)) for name in command.list_commands(context)]


def modules_with_examples():
    """Yield the dotted names of our modules whose docstrings hold an example."""
    for root in ROOTS:
        for package in sorted((ROOT / root).glob("sciml*" if root else "sciml")):
            for path in sorted(package.rglob("*.py")):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
                texts = (ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented))
                if any(">>> " in text for text in texts):
                    yield ".".join(path.relative_to(ROOT / root).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("kind", KINDS)
def test_hook_says_what_it_returns_and_what_a_target_is(kind):
    hook = getattr(Hooks, f"sciml_{kind}")
    text = inspect.getdoc(hook) or ""
    assert text.startswith("Return ")
    assert "target is" in text
    assert f"sciml_{kind}" in README.read_text(encoding="utf-8") or len(text.split()) >= 8


def test_hooks_are_those_of_the_kinds():
    hooks = {name for name in vars(Hooks) if name.startswith("sciml_")}
    assert hooks == {f"sciml_{kind}" for kind in KINDS}


@pytest.mark.parametrize("name", sorted(sciml.__all__))
def test_public_name_has_a_docstring_that_names_its_parameters(name):
    item = getattr(sciml, name)
    assert (inspect.getdoc(item) or "").strip(), f"sciml.{name}: expected a docstring, got none"
    ours = inspect.isclass(item) or inspect.isfunction(item)  # hookimpl is an object of pluggy's, explained there
    missing = unexplained(item) if ours else []
    assert not missing, f"sciml.{name}: expected its docstring to name {missing}, got {inspect.getdoc(item)!r}"


@pytest.mark.parametrize("package", ["sciml", "sciml_datasets", "sciml_kernels", "sciml.testing"])
def test_every_public_name_of_a_package_exists_and_is_documented(package):
    module = importlib.import_module(package)
    assert (module.__doc__ or "").strip()
    for name in module.__all__:
        assert (inspect.getdoc(getattr(module, name)) or "").strip(), f"{package}.{name}: expected a docstring"


def test_every_command_shows_an_example_that_is_a_command():
    known = {words[0]: command for words, command in commands() if len(words) == 1}
    seen = 0
    for words, command in commands():
        with click.Context(command, info_name=" ".join(("sciml", *words))) as context:
            text = command.get_help(context)
        examples = re.findall(r"\bsciml ([a-z-]+)", text.partition("Example")[2])
        assert examples, f"sciml {' '.join(words)} --help: expected an Example, got {text}"
        assert set(examples) <= set(known), f"sciml {' '.join(words)}: expected known commands, got {examples}"
        assert (command.help or "").strip()
        seen += 1
    assert seen >= len(CORE) + 10


@pytest.mark.parametrize("folder", KERNELS, ids=lambda folder: folder.name)
def test_op_has_a_readme_with_its_mathematics_and_its_bytes(folder):
    path = folder / "README.md"
    assert path.is_file(), f"{path}: expected a README, got none"
    text = path.read_text(encoding="utf-8").lower()
    assert folder.name in text
    for word in ("bytes", "reference"):
        assert word in text, f"{path}: expected a word about {word}, got none"


def test_every_registered_op_has_a_folder_of_its_own():
    assert set(ops()) == {folder.name for folder in KERNELS}


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_plugin_readme_tells_sources_departures_and_results(folder):
    path = folder / "README.md"
    assert path.is_file(), f"{path}: expected a README, got none"
    missing = {"Sources", "Departures", "Results"} - headings(path)
    assert not missing, f"{path}: expected the sections {sorted(missing)} too, got {sorted(headings(path))}"


@pytest.mark.parametrize("folder", [*PLUGINS, ROOT / "examples" / "plugin_template"], ids=lambda folder: folder.name)
def test_results_of_a_plugin_come_in_a_table_with_numbers(folder):
    _, _, after = (folder / "README.md").read_text(encoding="utf-8").partition("\n## Results")
    section = re.split(r"\n## ", after)[0]
    assert re.search(r"^\|.*\d.*\|$", section, flags=re.MULTILINE), (
        f"{folder}: expected a table below Results, got none"
    )


@pytest.mark.parametrize("command", SETUP)
def test_readme_gives_the_commands_to_run_and_to_test(command):
    assert command in README.read_text(encoding="utf-8")


def test_readme_links_lead_somewhere():
    for path in [README, *ROOT.glob("*/*/README.md"), *ROOT.glob("kernels/*/*/README.md")]:
        text = path.read_text(encoding="utf-8")
        links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", text)
        broken = [link for link in links if not (path.parent / link).exists()]
        assert not broken, f"{path}: expected links to files that exist, got {broken}"


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_example_in_a_docstring_gives_what_it_says(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_rules_see_what_they_forbid():
    def documented(path, n_steps, dims):
        """Read the path in so many steps along these dimensions."""

    def mute(path, device="cpu", *rest, **options):
        """Read a path."""

    class Silent:
        """A thing."""

        def __init__(self, mass):
            self.mass = mass

    assert unexplained(documented) == []
    assert unexplained(mute) == ["device"]
    assert unexplained(Silent) == ["mass"]
