"""Aerofoils: the formulas of NACA's four-digit series, and coordinate files."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sciml_mfuq.simulators.airfoil import Airfoil, coefficient_fields, input_fields, naca4, read_selig
from sciml_mfuq.simulators.nektar import recorded_text


def area(points):
    x, y = points.T
    return 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)


def exact_area(t, last):
    return 2 * 5 * t * (0.2969 * 2 / 3 - 0.1260 / 2 - 0.3516 / 3 + 0.2843 / 4 - last / 5)


@pytest.mark.parametrize(("edge", "last"), [("blunt", 0.1015), ("closed", 0.1036)])
def test_area_converges_to_that_of_the_formula_at_second_order(edge, last):
    errors = [abs(area(naca4("0012", n, edge).coordinates) - exact_area(0.12, last)) for n in (41, 81, 161)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.1)


def test_trailing_edge_is_blunt_by_the_published_gap_or_closed():
    for digits, thickness in (("0012", 0.12), ("2415", 0.15)):
        blunt, closed = (naca4(digits, trailing_edge=edge).coordinates for edge in ("blunt", "closed"))
        assert np.linalg.norm(blunt[0] - blunt[-1]) == pytest.approx(0.021 * thickness, rel=1e-9)
        assert np.linalg.norm(closed[0] - closed[-1]) == pytest.approx(0.0, abs=1e-15)


def test_thickness_and_camber_are_those_of_the_digits():
    points = naca4("2412", 401).coordinates
    upper, lower = points[400::-1], points[400:]
    middle = (upper + lower) / 2
    half = np.linalg.norm(upper - lower, axis=1) / 2
    assert 2 * half.max() == pytest.approx(0.12, abs=1e-4)
    assert middle[:, 1].max() == pytest.approx(0.02, abs=1e-6)
    assert middle[middle[:, 1].argmax(), 0] == pytest.approx(0.4, abs=4e-3)
    symmetric = naca4("0012").coordinates
    np.testing.assert_allclose(symmetric[::-1], symmetric * [1, -1], atol=1e-15)


def test_aerofoil_of_the_recorded_mesh_is_the_one_of_the_formula():
    text = recorded_text("mesh.xml").split("</VERTEX>")[0]
    vertices = np.array([list(map(float, v.split()[:2])) for v in re.findall(r'<V ID="\d+">([^<]*)</V>', text)])
    x, y = vertices[(np.abs(vertices[:, 1]) < 0.07) & (vertices[:, 0] >= 0) & (vertices[:, 0] <= 1)].T
    thickness = 0.6 * (0.2969 * np.sqrt(x) - 0.1260 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4)
    assert np.sum(np.abs(np.abs(y) - thickness) < 1e-6) >= 60  # the mesher went through the points by splines


def test_selig_file_gives_the_points_and_the_name_back(tmp_path):
    points = naca4("4415", 50).coordinates
    rows = "\n".join(f" {x:.8f}  {y:.8f}" for x, y in points)
    (tmp_path / "a.dat").write_text(f"NACA 4415 (mine)\n\n{rows}\n")
    (tmp_path / "plain.dat").write_text(rows)
    read = read_selig(tmp_path / "a.dat")
    assert read.name == "NACA 4415 (mine)"
    np.testing.assert_allclose(read.coordinates, points, atol=1e-8)
    assert read_selig(tmp_path / "plain.dat").name == "plain"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\n 66. 66.\n 0 0\n", "Lednicer"),
        ("name\n 1.0 0.0 0.0\n", "two numbers"),
        ("name\n 1.0 zero\n", "two numbers"),
        ("name\n 1.0 0.0\n", "at least 10"),
        ("", "at least 10"),
    ],
)
def test_file_that_is_no_selig_file_is_refused_by_name(tmp_path, text, words):
    path = tmp_path / "bad.dat"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_selig(path)
    with pytest.raises(ValueError, match=r"other\.dat"):
        read_selig(tmp_path / "other.dat")


def test_points_out_of_order_or_scale_are_refused():
    points = naca4("0012").coordinates
    for bad, words in ((points[::-1], "reverse"), (2 * points, "unit chord"), (np.roll(points, 100, 0), "Selig")):
        with pytest.raises(ValueError, match=words):
            Airfoil("bad", bad)
    broken = points.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        Airfoil("bad", broken)


@pytest.mark.parametrize("digits", ["012", "00120", "001x", "0000", "2012", "0412", "²412"])
def test_digits_that_are_no_aerofoil_are_refused(digits):
    with pytest.raises(ValueError, match="NACA digits"):
        naca4(digits)


def test_coordinates_are_a_copy_that_cannot_be_changed():
    points = naca4("0012").coordinates.copy()
    airfoil = Airfoil("mine", points)
    points[0] = 7
    assert airfoil.coordinates[0, 0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="read-only"):
        airfoil.coordinates[0] = 7


def test_fields_carry_units_bounds_and_whether_numbers_may_be_missing():
    angle, reynolds = input_fields(["angle_of_attack", "reynolds"], {"angle_of_attack": (-1, 1), "reynolds": (1, 2)})
    assert (angle.unit, reynolds.unit) == ("degree", "1")
    assert angle.bounds.boxes == (((-1.0,), (1.0,)),)
    with pytest.raises(ValueError, match="reynolds"):
        input_fields(["reynolds"], {"mach": (0, 1)})
    assert all(field.missing for field in coefficient_fields(missing=True))
    assert not any(field.missing for field in coefficient_fields())
