from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml import setting
from sciml.cli.run import read_toml
from sciml.config import configure, describe


@dataclass(frozen=True)
class Window:
    low: float = setting(0.0, "start", unit="s")
    high: float = setting(1.0, "end", unit="s")

    def __post_init__(self):
        if self.low >= self.high:
            raise ValueError(f"Window: expected low < high, got {self.low} and {self.high}")


@dataclass(frozen=True)
class Inner:
    window: Window = setting(Window(), "time window")
    rate: float = setting(1e-3, "learning rate")


@dataclass(frozen=True)
class Config:
    n: int = setting(3, "how many")
    exact: bool = setting(False, "use the exact formula")
    label: str = setting("a", "name")
    seed: int | None = setting(None, "seed of the data")
    kind: Literal["cosine", "constant"] = setting("cosine", "schedule")
    widths: tuple[int, ...] = setting((8, 8), "sizes of layers")
    corner: tuple[float, float] = setting((1.0, 2.0), "a point", unit="m")
    mixed: int | float | str = setting(1, "a number or a name")
    folder: Path | None = setting(None, "where data lie")
    grid: tuple[int | None, ...] = setting((), "sizes; None: as the data")
    free: Any = setting(None, "anything")
    inner: Inner = setting(Inner(), "nested settings")


def test_describe_lists_leaves_with_value_unit_and_help():
    rows = {name: (value, unit, text) for name, value, unit, text in describe(Config())}
    assert rows["inner.window.high"] == (1.0, "s", "end")
    assert rows["corner"] == ((1.0, 2.0), "m", "a point")
    assert "inner" not in rows
    assert list(rows)[:3] == ["n", "exact", "label"]


@pytest.mark.parametrize(
    ("name", "given_value", "wanted"),
    [
        ("n", "12", 12),
        ("n", 12.0, 12),
        ("exact", "yes", True),
        ("exact", "0", False),
        ("label", " b ", "b"),
        ("seed", "none", None),
        ("seed", "5", 5),
        ("kind", "constant", "constant"),
        ("widths", "16,32, 64", (16, 32, 64)),
        ("widths", "(16)", (16,)),
        ("widths", "", ()),
        ("widths", [4, 5], (4, 5)),
        ("corner", "[3, 4.5]", (3.0, 4.5)),
        ("mixed", "2", 2),
        ("mixed", "2.5", 2.5),
        ("mixed", "two", "two"),
        ("folder", "/data", Path("/data")),
        ("free", {"a": 1}, {"a": 1}),
        ("free", {"inner": {"rate": 1}}, {"inner": {"rate": 1}}),
        ("grid", "3, none", (3, None)),
    ],
)
def test_value_is_converted_to_the_type_of_its_setting(name, given_value, wanted):
    found = getattr(configure(Config(), {name: given_value}), name)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("n", "2.5", "setting 'n': expected int, got '2.5'"),
        ("n", 2.5, "setting 'n': expected int, got 2.5"),
        ("n", True, "setting 'n': expected int, got True"),
        ("n", None, "setting 'n': expected int, got None"),
        ("exact", "maybe", "setting 'exact': expected bool, got 'maybe'"),
        ("label", None, "setting 'label': expected str, got None"),
        ("kind", "linear", "setting 'kind': expected"),
        ("corner", "1,2,3", "setting 'corner': expected tuple[float, float], got '1,2,3'"),
        ("corner", 1.0, "setting 'corner': expected"),
        ("seed", "x", "setting 'seed': expected int or None, got 'x'"),
        ("inner.rate", "fast", "setting 'inner.rate': expected float, got 'fast'"),
    ],
)
def test_value_of_another_kind_is_refused_by_name(name, given_value, expected):
    with pytest.raises(ValueError) as caught:
        configure(Config(), {name: given_value})
    assert str(caught.value).startswith(expected)


def test_refused_literal_lists_the_choices():
    with pytest.raises(ValueError, match="setting 'kind': expected 'cosine' or 'constant', got 'linear'"):
        configure(Config(), {"kind": "linear"})


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(
        ValueError, match=r"setting 'inner.windw.low': expected a known name; did you mean 'inner\.window\.low'\?"
    ):
        configure(Config(), {"inner.windw.low": 1})
    with pytest.raises(
        ValueError, match="setting 'zzz': expected a known name; see `sciml show`; they begin with corner, exact, "
    ):
        configure(Config(), {"zzz": 1})
    with pytest.raises(ValueError, match="setting 'inner': expected a known name"):
        configure(Config(), {"inner": 1})


def test_overrides_apply_at_once_whatever_their_order():
    for names in (("low", "high"), ("high", "low")):
        moved = configure(Config(), {f"inner.window.{name}": {"low": 5, "high": 9}[name] for name in names})
        assert moved.inner.window == Window(5.0, 9.0)
    with pytest.raises(ValueError, match=r"Window: expected low < high, got 5\.0 and 1\.0"):
        configure(Config(), {"inner.window.low": 5})


def test_configure_leaves_the_given_configuration_and_its_other_settings():
    base = Config()
    changed = configure(base, {"inner.rate": "0.5"})
    assert base == Config()
    assert dataclasses.replace(changed, inner=Inner()) == base
    assert configure(base, {}) == base


@given(st.integers(), st.floats(allow_nan=False), st.lists(st.integers(), max_size=4), st.none() | st.integers())
def test_settings_written_as_text_come_back(n, rate, widths, seed):
    config = Config(n=n, widths=tuple(widths), seed=seed, inner=Inner(rate=rate))
    texts = {"n": str(n), "widths": ",".join(map(str, widths)), "seed": str(seed), "inner.rate": repr(rate)}
    assert configure(Config(), texts) == config


def test_toml_tables_become_dotted_names(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        'n = 4\nlabel = "größe"\nwidths = [1, 2]\n[inner]\nrate = 0.5\n[inner.window]\nhigh = 2\n', encoding="utf-8"
    )
    overrides = read_toml(path)
    dotted = {"n": 4, "label": "größe", "widths": [1, 2], "inner.rate": 0.5, "inner.window.high": 2}
    assert configure(Config(), overrides) == configure(Config(), dotted)
    assert configure(Config(), overrides).inner.window.high == 2.0
    assert configure(Config(), {**overrides, "inner.rate": "0.25"}).inner == Inner(Window(high=2.0), 0.25)


@pytest.mark.parametrize("content", [b"n = ", b"\xff\xfe"])
def test_toml_that_is_none_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.toml: expected a TOML file with settings, got"):
        read_toml(path)
    with pytest.raises(ValueError, match="expected a TOML file with settings, got"):
        read_toml(tmp_path / "absent.toml")
