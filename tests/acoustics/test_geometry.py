from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from sciml_acoustics.geometry import ROOMS, Room, columns, random_points, room, source_grid, tube

PLANES = ["square", "rectangle", "l_shape", "furnished"]


def shoelace(loop):
    x, y = loop.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


@pytest.mark.parametrize("name", PLANES)
def test_outline_encloses_the_area(name):
    shape = room(name)
    assert sum(shoelace(loop) for loop in shape.outline()) == pytest.approx(shape.area, abs=1e-12)


def test_areas_of_the_presets():
    expected = {"square": 4.0, "rectangle": 6.0, "l_shape": 6.75, "furnished": 9.0 - 0.6 - 0.3 * (0.3 + 0.5 + 0.3)}
    for name, area in expected.items():
        assert room(name).area == pytest.approx(area, abs=1e-12)
    assert tube(3.5).area == 3.5


@pytest.mark.parametrize("name", list(ROOMS))
def test_normals_point_out_of_the_room(name):
    shape = room(name)
    for wall in shape.walls:
        middle = 0.5 * (np.array(wall.start) + np.array(wall.end))
        step = 1e-4 * np.array(wall.normal)
        assert shape.contains([middle - step, middle, middle + step]).tolist() == [True, True, False]


@pytest.mark.parametrize("name", PLANES)
def test_walls_close_and_integrate_their_normal_to_zero(name):
    walls = room(name).walls
    length = [np.abs(np.subtract(w.end, w.start)).sum() for w in walls]
    assert np.abs(np.array(length) @ np.array([w.normal for w in walls])).max() < 1e-12
    assert {w.start for w in walls} == {w.end for w in walls}
    assert all(a.normal != b.normal for a, b in pairwise(walls))


def test_walls_do_not_depend_on_how_the_room_is_cut():
    cut = Room("cut", (((0, 0), (3, 1)), ((0, 1), (1.5, 3)), ((0.2, 0.3), (3, 1.5)), ((0, 1), (1, 2))))
    assert cut.walls == room("l_shape").walls
    assert columns(cut) == columns(room("l_shape"))


def test_a_hole_is_a_clockwise_loop():
    frame = Room("frame", (((0, 0), (3, 1)), ((0, 2), (3, 3)), ((0, 0), (1, 3)), ((2, 0), (3, 3))))
    outer, hole = frame.outline()
    assert (shoelace(outer), shoelace(hole)) == (9.0, -1.0)
    assert len(frame.walls) == 8
    assert not frame.contains([[1.5, 1.5]])[0]


@pytest.mark.parametrize("name", PLANES)
def test_columns_tile_the_room(name):
    boxes = columns(room(name))
    assert sum(np.prod(np.subtract(hi, lo)) for lo, hi in boxes) == pytest.approx(room(name).area, abs=1e-12)


def test_furniture_is_outside():
    furniture = [[1.5, 0.3], [2.35, 2.9], [1.5, 2.9], [0.65, 2.9]]
    assert not room("furnished").contains(furniture).any()
    assert room("furnished").contains([[0.5, 0.3], [1.0, 0.6], [2.6, 2.9], [1.5, 2.7]]).all()


def test_room_survives_json():
    shape = room("furnished")
    data = json.loads(json.dumps(asdict(shape)))
    assert Room(data["name"], data["boxes"]) == shape


def test_source_grid_of_the_published_square_has_13_by_13_points():
    points = source_grid(room("square"), 0.343 / 5, 0.6)
    assert points.shape == (169, 2)
    assert np.allclose(np.sort(points[:, 0]), np.sort(2.0 - points[:, 0]), atol=1e-12)


@pytest.mark.parametrize("name", list(ROOMS))
def test_sources_keep_the_padding_from_walls_and_furniture(name):
    shape = room(name)
    drawn = random_points(shape, 200, np.random.default_rng(11), 0.2)
    for points in (source_grid(shape, 0.1, 0.3), drawn):
        assert shape.contains(points).all()
    assert shape.wall_distance(source_grid(shape, 0.1, 0.3)).min() >= 0.3 - 1e-9
    assert shape.wall_distance(drawn).min() >= 0.2
    assert np.array_equal(drawn, random_points(shape, 200, np.random.default_rng(11), 0.2))


def test_wall_distance_sees_corners_of_furniture():
    assert room("furnished").wall_distance([[0.7, 1.0]])[0] == pytest.approx(0.5)
    assert room("furnished").wall_distance([[2.3, 1.0]])[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ((), "expected boxes"),
        ((((0, 0), (1,)),), "expected boxes"),
        ((((0, 0), (0, 1)),), "expected lo < hi on every axis"),
        ((((0, 0), (1, float("nan"))),), "expected lo < hi on every axis"),
        ((((0, 0), (1, 1)), ((2, 0), (3, 1))), "expected one connected room"),
        ((((0, 0), (1, 1)), ((1, 1), (2, 2))), "expected one connected room"),
        ((((0, 0), (3, 1)), ((0, 0), (1, 3)), ((2, 0), (3, 3)), ((1, 2), (2, 3)), ((3, 3), (4, 4)), ((0, 3), (1, 5)),
          ((0, 4), (4, 5))), "touch in a point"),
    ],
)  # fmt: skip
def test_bad_rooms_are_refused(boxes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Room("bad", boxes)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="expected one of square, rectangle"):
        room("hall")
    with pytest.raises(ValueError, match="reduce the padding"):
        source_grid(room("square"), 0.1, 1.2)
    with pytest.raises(ValueError, match="expected room for 5 points"):
        random_points(room("square"), 5, np.random.default_rng(3), 1.1)
    with pytest.raises(ValueError, match=r"expected points \(n, 2\)"):
        room("square").contains([1.0, 2.0])
