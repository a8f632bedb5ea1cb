"""The house rules, read from the syntax trees of the sources: who imports whom, how long things are, what is banned.

How things are counted. A file: its lines. A function: its lines without the docstring; a loop that follows a paper
may be longer where its def line, or the line above the def or its first decorator, says ``# long: <reason>``.
A constructor: the arguments of ``__init__`` but self, *args and **kwargs; for a dataclass the fields that a caller must
give (those without a default), so that a configuration made of ``setting(...)`` counts zero. A line of code: one that
holds a token other than a comment or a docstring.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"sciml": set(), "sciml_kernels": set(), "sciml_datasets": {"sciml"}}
PLUGIN_MAY = {"sciml", "sciml_kernels", "sciml_datasets"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
EXECUTING = {"eval", "exec", "torch.load", "torch.save", "pandas.read_pickle"}
GLOBAL_STATE = {
    "random.seed",
    "numpy.seterr",
    "torch.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.random.manual_seed",
    "torch.seed",
    "torch.set_default_dtype",
    "torch.set_default_device",
    "torch.set_default_tensor_type",
}
OF_THE_PROCESS = {"torch.set_num_threads", "numba.set_num_threads", "warnings.filterwarnings", "warnings.simplefilter"}
OWN_GENERATORS = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "Philox"}
FORKED = {"torch.manual_seed", "torch.random.manual_seed"}  # allowed where torch.random.fork_rng() restores the state


def package_roots():
    roots = [ROOT / "sciml", ROOT / "kernels" / "sciml_kernels", ROOT / "datasets" / "sciml_datasets"]
    return roots + sorted(path for path in (ROOT / "plugins").glob("*/sciml_*") if path.is_dir())


def sources():
    return sorted(path for root in package_roots() for path in root.rglob("*.py"))


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def package_of(path):
    return next(root.name for root in package_roots() if path.is_relative_to(root))


def imported(tree):
    """Yield the absolute names that a tree imports, by statement or by import_module("name")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif (
            isinstance(node, ast.Call)
            and dotted(node.func).split(".")[-1] in ("import_module", "__import__")
            and node.args
        ):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def dotted(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def calls(tree):
    """Yield (full name, node) of every call, with the aliases of imports resolved."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func):
            head, _, rest = dotted(node.func).partition(".")
            yield f"{aliases.get(head, head)}{'.' if rest else ''}{rest}", node


def calls_under_fork(tree):
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    forks = [node for node in blocks if any("fork_rng" in ast.dump(item.context_expr) for item in node.items)]
    return {id(node) for fork in forks for node in ast.walk(fork)}


def forbidden_imports(package, tree):
    may = LAYERS.get(package, PLUGIN_MAY) | {package}
    ours = {name.split(".")[0] for name in imported(tree)}
    return sorted(name for name in ours if (name == "sciml" or name.startswith("sciml_")) and name not in may)


def executing(tree):
    found = sorted({name.split(".")[0] for name in imported(tree)} & PICKLES)
    for name, node in calls(tree):
        pickled = any(k.arg == "allow_pickle" and getattr(k.value, "value", True) is True for k in node.keywords)
        if name in EXECUTING or name.removeprefix("builtins.") in ("eval", "exec") or pickled:
            found.append(f"{name} on line {node.lineno}")
    return found


def global_state(tree, is_command=False):
    under_fork = calls_under_fork(tree)
    found = []
    for name, node in calls(tree):
        legacy = name.startswith("numpy.random.") and name.split(".")[2] not in OWN_GENERATORS
        process = name in OF_THE_PROCESS and not is_command  # a command owns its process, the library does not
        if (legacy or process or name in GLOBAL_STATE) and not (name in FORKED and id(node) in under_fork):
            found.append(f"{name} on line {node.lineno}")
    return found


def body_lines(function):
    """Count the lines of a function without its docstring."""
    n_lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        n_lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return n_lines


def long_functions(text, limit=40):
    lines = text.splitlines()
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION) and body_lines(node) > limit:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            near = lines[node.lineno - 1] + lines[node.lineno - 2] + (lines[first - 2] if first > 1 else "")
            if not re.search(r"# long: \S", near):
                found.append(f"{node.name} on line {node.lineno}: {body_lines(node)} lines")
    return found


def constructor_arguments(node):
    """Count what a caller of the class gives; see the head of this file."""
    if any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and item.value is None]
        return sum("ClassVar" not in ast.dump(item.annotation) for item in fields)
    for item in node.body:
        if isinstance(item, FUNCTION) and item.name == "__init__":
            return len(item.args.posonlyargs + item.args.args + item.args.kwonlyargs) - 1
    return 0


def abstract_members(node):
    members = (item for item in node.body if isinstance(item, FUNCTION))
    return [item.name for item in members if any("abstractmethod" in ast.dump(d) for d in item.decorator_list)]


def code_lines(text):
    documented = (ast.Module, ast.ClassDef, *FUNCTION)
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            held |= set(range(token.start[0], token.end[0] + 1))
    return len(held - docstrings)


def loose_ends(text):
    """Return comments that promise work without an anchor: a number, an address or a name in brackets."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (token for token in tokens if token.type == tokenize.COMMENT)
    anchor = re.compile(r"#\d+|https?://|\b(TODO|FIXME|XXX|HACK)\([^)]+\)")
    marked = (token for token in comments if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string))
    return [f"line {token.start[0]}: {token.string}" for token in marked if not anchor.search(token.string[1:])]


def report(found):
    """Fail with one line per violation."""
    lines = [f"{name}: {item}" for name, items in found.items() for item in items]
    assert not lines, "\n" + "\n".join(lines)


def test_imports_go_downwards_only():
    report({name_of(path): forbidden_imports(package_of(path), tree) for path, tree in TREES.items()})


@pytest.mark.parametrize("folder", ["kernels", "datasets", "plugins", "plugins/*"])
def test_source_roots_are_no_packages(folder):
    assert not [name_of(path) for path in ROOT.glob(f"{folder}/__init__.py")]


def test_files_are_short():
    n_lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TREES}
    limits = {path: 400 if package_of(path) == "sciml_kernels" else 300 for path in TREES}
    report({name_of(p): [f"{n} lines, at most {limits[p]}"] for p, n in n_lines.items() if n > limits[p]})


def test_functions_are_short_or_say_why_not():
    report({name_of(path): long_functions(path.read_text(encoding="utf-8")) for path in TREES})


def test_constructors_take_at_most_six_arguments():
    classes = {p: [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)] for p, tree in TREES.items()}
    counts = {p: [(node.name, constructor_arguments(node)) for node in nodes] for p, nodes in classes.items()}
    report({name_of(p): [f"{name} takes {n}" for name, n in items if n > 6] for p, items in counts.items()})


def test_interfaces_have_at_most_three_members_to_write():
    classes = {p: [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)] for p, tree in TREES.items()}
    members = {p: [(node.name, abstract_members(node)) for node in nodes] for p, nodes in classes.items()}
    report({name_of(p): [f"{name}: {m}" for name, m in items if len(m) > 3] for p, items in members.items()})


def test_core_reads_in_twenty_minutes():
    core = [
        p
        for p in TREES
        if package_of(p) == "sciml" and p.relative_to(ROOT / "sciml").parts[0] not in ("testing", "cli")
    ]
    counts = {name_of(path): code_lines(path.read_text(encoding="utf-8")) for path in core}
    # 1200 and 300 for what a study of uncertainty shares: scores and calibration, and sweeps that outlive their workers
    assert sum(counts.values()) <= 1500, f"{sum(counts.values())} lines of code, at most 1500: {counts}"


def test_nothing_is_unpickled_or_executed():
    report({name_of(path): executing(tree) for path, tree in TREES.items()})


def test_global_state_is_left_alone():
    # a command owns its process; sciml/threads.py is the one place that sets the threads and puts them back
    owners = ("cli", "sciml/threads.py")
    report({name_of(path): global_state(tree, any(o in name_of(path) for o in owners)) for path, tree in TREES.items()})


def test_unfinished_work_has_an_anchor():
    report({name_of(path): loose_ends(path.read_text(encoding="utf-8")) for path in TREES})


def test_annotations_are_never_evaluated_at_import():
    wanted = "from __future__ import annotations"
    filled = [path for path, tree in TREES.items() if any(not isinstance(node, ast.Expr) for node in tree.body)]
    report({name_of(p): [f"expected {wanted!r}"] for p in filled if wanted not in p.read_text(encoding="utf-8")})


def test_rules_see_what_they_forbid():
    def tree(text):
        return ast.parse(text)

    assert forbidden_imports("sciml", tree("import importlib as i\ni.import_module('sciml_kernels.x')")) == [
        "sciml_kernels"
    ]
    assert forbidden_imports("sciml_a", tree("import sciml_b.c\nfrom sciml import x\nfrom . import y")) == ["sciml_b"]
    assert len(executing(tree("import pickle as p\nfrom torch import load as l\nl('x')\neval('1')\nnet.eval()"))) == 3
    assert executing(tree("np.load(f, allow_pickle=True)\nnp.load(g, allow_pickle=False)")) == ["np.load on line 1"]
    assert len(global_state(tree("import numpy as np\nnp.random.rand(3)\nnp.random.default_rng(1)"))) == 1
    assert not global_state(tree("import torch\nwith torch.random.fork_rng():\n    torch.manual_seed(1)"))
    assert len(global_state(tree("import torch as t\nt.manual_seed(1)\nt.Generator().manual_seed(1)"))) == 1
    body = "    x = 1\n" * 41
    assert len(long_functions(f"def f():\n{body}")) == 1
    assert not long_functions(f"# long: the loop of Algorithm 2\ndef f():\n{body}")
    assert not long_functions('def f():\n    """' + "a\n" * 60 + '    """\n')
    wide = "def __init__(self, a, b, c, *, d, e, f, g): pass"
    assert constructor_arguments(tree(f"class A:\n    {wide}").body[0]) == 7
    assert constructor_arguments(tree("@dataclass(frozen=True)\nclass A:\n    a: int\n    b: int = 1").body[0]) == 1
    assert code_lines('"""Head\n\n"""\nx = """a\nb"""  # c\n\n# d\ndef f():\n    """D."""\n    return 1\n') == 4
    assert loose_ends("x = 1  # TODO later\ny = 2  # TODO(paper, eq. 3) later\nz = 3  # TODO see #12") == [
        "line 1: # TODO later"
    ]
