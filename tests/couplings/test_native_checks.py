"""No careless call from C gets past the checks, and none reads or writes past a buffer: sanitizers, valgrind watch."""

from __future__ import annotations

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from sciml_couplings.aot import Size
from sciml_couplings.c_export import write_spec
from sciml_fishery.policies import neural

from sciml import Region, Surrogate

NATIVE = resources.files("sciml_couplings") / "native"
SIZES = {"batch": Size(None), "species": Size(3), "fishery": Size(2)}


def edited(spec, old, new):
    assert old in spec
    return spec.replace(old, new)


DAMAGES = {  # of a folder: name -> (file, what becomes of its text)
    "another version": ("surrogate.spec", lambda s: edited(s, "sciml-surrogate-c\t1", "sciml-surrogate-c\t2")),
    "no spec of ours": ("surrogate.spec", lambda s: '{"json": 1}\n'),
    "an empty spec": ("surrogate.spec", lambda s: ""),
    "half a spec": ("surrogate.spec", lambda s: s[: len(s) // 2]),
    "a line less": ("surrogate.spec", lambda s: "".join(s.splitlines(keepends=True)[:6] + s.splitlines(True)[7:])),
    "no number": ("surrogate.spec", lambda s: edited(s, "dim\tspecies\t3", "dim\tspecies\tthree")),
    "a size below zero": ("surrogate.spec", lambda s: edited(s, "dim\tspecies\t3", "dim\tspecies\t-7")),
    "an unknown dimension": ("surrogate.spec", lambda s: edited(s, "batch\tspecies", "batch\tspecie")),
    "another path": ("surrogate.spec", lambda s: edited(s, "weights.bin", "../weights.bin")),
    "a box too wide": ("surrogate.spec", lambda s: edited(s, "dim\tspecies\t3", "dim\tspecies\t2")),
    "a truncated package": ("weights.bin", lambda s: s[:-1]),
    "a changed byte": ("weights.bin", lambda s: "X" + s[1:]),
    "no package": ("weights.bin", None),
    "no spec": ("surrogate.spec", None),
}
REFUSALS = {  # status of sciml_surrogate.h and a word of the sentence
    "null folder": (1, "null pointer"),
    "null place": (1, "null pointer"),
    "no runner": (1, "n_runners >= 1"),
    "another version": (11, "got 2"),
    "no spec of ours": (10, "begins with"),
    "an empty spec": (10, "cut short"),
    "half a spec": (10, "spec"),
    "a line less": (10, "line"),
    "no number": (10, "'three'"),
    "a size below zero": (10, "species"),
    "an unknown dimension": (10, "'specie'"),
    "another path": (10, "../weights.bin"),
    "a box too wide": (10, "stock"),
    "a truncated package": (10, "copy the folder again"),
    "a changed byte": (10, "copy the folder again"),
    "no package": (9, "weights.bin"),
    "no spec": (9, "surrogate.spec"),
    "rank": (2, "expected 2 dimensions, got 1"),
    "negative rank": (2, "not contiguous"),
    "huge rank": (2, "expected 2 dimensions"),
    "other batch": (4, "expected 2 along 'batch'"),
    "fixed dim": (4, "expected 3 along 'species'"),
    "zero batch": (4, "at least 1"),
    "negative batch": (4, "at least 1"),
    "huge batch": (8, "expected room"),
    "batch too large": (8, "got 24 bytes"),
    "short input": (8, "got 23 bytes"),
    "negative bytes": (8, "got -24 bytes"),
    "short output": (8, "output 'fraction'"),
    "output batch": (4, "output 'fraction'"),
    "dtype": (3, "expected float32"),
    "unknown dtype": (3, "got type 77"),
    "device": (3, "device"),
    "null data": (1, "null pointer"),
    "null output": (1, "output 'fraction'"),
    "too few inputs": (1, "expected 2 inputs, got 1"),
    "too many outputs": (1, "expected 1 outputs, got 2"),
    "policy": (1, "got policy 9"),
    "nan": (5, "at number 5"),
    "infinity": (5, "got inf at number 0"),
    "bounds": (6, "physical limits"),
    "outside": (7, "input 'stock'"),
    "bad output": (13, "output 'fraction'"),
    "failed run": (12, "sums up to 100"),
    "null handle": (1, "open surrogate"),
    "index": (1, "below 2, got 2"),
    "negative index": (1, "below 1, got -1"),
    "null field": (1, "null pointer"),
    "null inputs": (1, "null pointer"),
}


def build(path, *flags):
    """Compile the checks and the careless calls, the network replaced by a stub."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    sources = [
        *(str(NATIVE / name) for name in ("checks.cpp", "abi.cpp")),
        str(Path(__file__).parent / "bad_calls.cpp"),
    ]
    common = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{NATIVE}"]
    done = subprocess.run(["g++", *common, *flags, "-o", path, *sources], capture_output=True, text=True)
    if "cannot find -lasan" in done.stderr or "cannot find libasan" in done.stderr:
        pytest.skip("no AddressSanitizer on this machine")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("sanitized") / "bad_calls"
    return build(path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "good"
    path.mkdir()
    (path / "weights.bin").write_text("weights of the stub")
    policy = neural(["cod", "herring", "seal"], ["cod", "herring"], 7, width=4)
    domain = {"stock": Region((((0.0,) * 3, (0.7,) * 3),)), "year": Region.interval(0.0, 10.0)}
    write_spec(Surrogate(policy, domain=domain), SIZES, path, path / "weights.bin")
    fixed = path.with_name("one sample")
    shutil.copytree(path, fixed)
    write_spec(Surrogate(policy, domain=domain), {**SIZES, "batch": Size(1)}, fixed, fixed / "weights.bin")
    return path


@pytest.fixture(scope="module")
def folders(folder):
    """Return the good folder, the one of a fixed batch, and one for each damage."""
    broken = []
    for name, (file, change) in DAMAGES.items():
        path = folder.parent / name
        shutil.copytree(folder, path)
        if change is None:
            (path / file).unlink()
        else:
            (path / file).write_text(change((path / file).read_text()))
        broken.append(path)
    return [folder, folder.with_name("one sample"), *broken]


@pytest.fixture(scope="module")
def answers(program, folders):
    done = subprocess.run([program, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line.split("\t", 2) for line in done.stdout.splitlines()]
    return {name: (int(status), text) for name, status, text in lines}


@pytest.mark.parametrize("name", REFUSALS)
def test_careless_call_gets_its_code_and_a_sentence(name, answers):
    status, text = answers[name]
    wanted, word = REFUSALS[name]
    assert (status, word in text) == (wanted, True), (status, text)


def test_every_damage_of_a_folder_is_refused(answers):
    assert set(DAMAGES) <= set(REFUSALS)
    assert "handle" not in answers


def test_good_calls_run(answers):
    for name in ("open", "good", "good batch", "edge", "flagged", "field"):
        assert answers[name] == (0, ""), name


def test_refused_calls_leave_the_output_alone(answers):
    ran = {"good", "good batch", "one by one", "edge", "flagged", "bad output", "failed run"}
    untouched = {n.removesuffix(" outside"): a for n, a in answers.items() if n.endswith(" outside")}
    for name, (_, last) in untouched.items():
        assert (float(last) == -1.0) == (name not in ran), name


def test_flag_names_the_input_outside_the_training_domain(answers):
    assert answers["flagged outside"][0] == 0b01
    assert answers["good outside"][0] == 0


def test_fields_are_described_in_the_words_of_the_spec(answers):
    assert answers["stock"] == (2, "stock 1 batch species -1 3")


def test_fixed_batch_is_predicted_sample_by_sample(answers):
    assert answers["one sample"] == (4, "input 'stock': expected 1 along 'batch', got shape (2, 3)")
    assert answers["one by one"] == (0, "")
    assert float(answers["one by one outside"][1]) == pytest.approx(0.4)  # the stub's sum over its own sample


def test_errors_belong_to_the_thread_that_made_them(answers):
    assert answers["threads"] == (0, "")


def test_valgrind_sees_no_byte_read_unwritten_or_lost(folders, tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    program = build(tmp_path / "bad_calls")
    watch = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=all"]
    command = [*watch, "--errors-for-leak-kinds=all", program, *folders]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > len(REFUSALS)
