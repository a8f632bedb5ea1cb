from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from sciml_acoustics import figures
from sciml_acoustics.geometry import random_points, room
from sciml_acoustics.panels import outline, plane, room_images

from sciml import Region
from sciml.report import Report

TIME = np.arange(101) * 5e-4
FURNISHED, L_SHAPE, TUBE = (Region(room(name).boxes) for name in ("furnished", "l_shape", "tube"))


def grid(low, high, n=31):
    axes = [np.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def nodes(region, n=31):
    points = grid(*region.bounding_box, n)
    return points[region.contains(points)]


def wave(position, shift=0.0):
    phase = 4.0 * position.sum(-1) - 900.0 * TIME[:, None]
    return np.exp(-20.0 * TIME[:, None]) * np.sin(phase + shift)


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def word_boxes(figure):
    """Boxes of all words of a drawn figure but the tick labels, in pixels; of labels with a line, the words alone."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [
            *axes.texts,
            axes.xaxis.label,
            axes.yaxis.label,
            axes._left_title,
            *(legend.get_texts() if legend else []),
        ]
    return [Text.get_window_extent(text, renderer) for text in texts if text.get_text() and text.get_visible()]


def texts_apart(figure):
    """Whether no two of these boxes overlap and all are on the page."""
    boxes, page = word_boxes(figure), figure.bbox
    inside = all(b.x0 >= page.x0 and b.x1 <= page.x1 and b.y0 >= page.y0 and b.y1 <= page.y1 for b in boxes)
    return inside and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.fixture
def sources():
    generator = np.random.default_rng(13)
    return random_points(room("furnished"), 20, generator, 0.2), random_points(room("furnished"), 5, generator, 0.2)


def test_plan_shows_every_group_at_its_place_in_a_room_to_scale(sources):
    receivers = np.array([[0.3, 0.3], [2.7, 2.8]])
    figure = figures.plan(FURNISHED, *sources, receivers, nodes(FURNISHED))
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == [f"{len(nodes(FURNISHED))} nodes", "20 training sources", "5 held-out sources", "2 receivers"]
    assert labels(axes) == ("x (m)", "y (m)")
    assert axes.get_aspect() == 1.0
    drawn = [np.asarray(c.get_offsets()) for c in axes.collections if c.get_label() in names]
    for found, expected in zip(drawn, (nodes(FURNISHED), *sources, receivers), strict=True):
        assert np.array_equal(found, expected)
    assert texts_apart(figure)
    legend = axes.get_legend().get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert not legend.overlaps(axes.get_window_extent())


def test_outline_is_the_boundary_of_the_room():
    pieces = np.array(outline(FURNISHED))
    assert np.linalg.norm(pieces[:, 1] - pieces[:, 0], axis=1).sum() == pytest.approx(12.0 + 2 * (3 * 0.3 + 0.6))
    middle = pieces.mean(axis=1)
    across = (pieces[:, 1] - pieces[:, 0])[:, ::-1]
    across = 1e-3 * across / np.linalg.norm(across, axis=1, keepdims=True)
    assert np.all(FURNISHED.contains(middle + across) != FURNISHED.contains(middle - across))


@pytest.mark.parametrize("region", [FURNISHED, L_SHAPE])
def test_images_are_finite_in_the_room_and_blank_in_notches_and_furniture(region):
    position = nodes(region)
    field = 2.0 * position[:, 0] - position[:, 1]
    image = room_images(region, position, field[None, None], 0.05)[0, 0]
    (low, high), (n_x, n_y) = region.bounding_box, image.shape
    x = low[0] + (np.arange(n_x) + 0.5) * (high[0] - low[0]) / n_x
    y = low[1] + (np.arange(n_y) + 0.5) * (high[1] - low[1]) / n_y
    centres = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    assert np.array_equal(~image.mask, region.contains(centres))
    assert image.mask.any()
    assert np.all(np.isfinite(image.compressed()))
    assert np.abs(image - (2.0 * centres[..., 0] - centres[..., 1])).max() < 1e-9  # exact for linear fields


def test_image_reaches_the_walls_although_the_nodes_do_not():
    inner = grid((0.1, 0.1), (1.9, 1.9))
    square = Region(room("square").boxes)
    image = room_images(square, inner, np.ones((1, 1, len(inner))), 0.05)
    assert not image.mask.any()
    assert np.allclose(image, 1.0)


def test_snapshots_show_truth_prediction_and_their_difference():
    position = nodes(L_SHAPE)
    truth, predicted = wave(position), wave(position, 0.01)
    figure = figures.snapshots(L_SHAPE, position, TIME, truth, predicted, frames=3, pulse_width=0.4)
    panels = [axes for axes in figure.axes if axes.get_images()][:9]
    images = [axes.get_images()[0] for axes in panels]
    for column in range(3):
        upper, middle, lower = (images[row * 3 + column] for row in range(3))
        assert np.ma.allclose(lower.get_array(), middle.get_array() - upper.get_array(), atol=1e-12)
        assert np.abs(lower.get_array()).max() > 1e-4
        assert upper.get_clim() == middle.get_clim()
        assert lower.get_clim()[1] < 0.1 * upper.get_clim()[1]
        for image in (upper, middle, lower):
            assert image.get_clim()[0] == -image.get_clim()[1]
            assert image.get_array().mask.any()
    assert [axes.get_title(loc="left") for axes in panels[:3]] == ["t = 5.5 ms", "t = 22 ms", "t = 50 ms"]
    rows = ["Truth\ny (m)", "Prediction\ny (m)", "Prediction − truth\n(own scale)\ny (m)"]
    assert [axes.get_ylabel() for axes in panels[::3]] == rows
    assert [axes.get_xlabel() for axes in panels[6:]] == ["x (m)"] * 3
    assert {axes.get_aspect() for axes in panels} == {1.0}
    assert [axes.get_ylabel() for axes in figure.axes[9:]] == ["pressure (Pa)", "error (Pa)"]
    assert texts_apart(figure)


def test_notch_of_the_l_shape_stays_white_in_the_picture():
    position = nodes(L_SHAPE)
    figure = figures.snapshots(L_SHAPE, position, TIME, wave(position) + 2.0, wave(position) + 2.0, frames=1)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    to_pixel = figure.axes[0].transData.transform
    outside, inside = (np.floor(to_pixel(point)).astype(int) for point in ((2.3, 2.3), (0.7, 2.3)))
    assert tuple(pixels[outside[1], outside[0]]) == (255, 255, 255)
    assert tuple(pixels[inside[1], inside[0]]) != (255, 255, 255)


def test_equal_fields_give_an_error_of_zero_and_no_nan():
    position = nodes(L_SHAPE)
    figure = figures.snapshots(L_SHAPE, position, TIME, wave(position), wave(position))
    errors = [axes.get_images()[0] for axes in figure.axes[8:12]]
    assert all(not image.get_array().compressed().any() for image in errors)
    assert all(image.get_clim() == (-1.0, 1.0) for image in errors)


def test_three_dimensions_show_the_plane_at_half_height():
    box = Region((((0.0, 0.0, 0.0), (2.0, 2.0, 1.0)), ((2.0, 0.0, 0.0), (3.0, 2.0, 0.4))))  # a step below the plane
    position = grid((0.0, 0.0, 0.0), (2.0, 2.0, 1.0), 11)
    flat, near = plane(box, position)
    assert flat.boxes == (((0.0, 0.0), (2.0, 2.0)),)
    assert np.array_equal(near, position[:, 2] == 0.5)
    truth = wave(position) + 100.0 * (np.abs(position[:, 2] - 0.5) > 0.01)
    figure = figures.snapshots(box, position, TIME, truth, truth, frames=2)
    assert max(abs(axes.get_images()[0].get_array()).max() for axes in figure.axes[:4]) < 2.0
    assert figures.plan(box, position[:3], position[3:5], position[5:6], position).axes[0].get_aspect() == 1.0


def test_one_dimension_is_drawn_as_curves():
    position = np.random.default_rng(17).permutation(np.linspace(0.0, 2.0, 40))[:, None]
    truth, predicted = wave(position), wave(position, 0.02)
    figure = figures.snapshots(TUBE, position, TIME, truth, predicted, frames=2)
    assert [labels(axes) for axes in figure.axes[::2]] == [("", "pressure (Pa)"), ("x (m)", "error (Pa)")]
    error = figure.axes[3].lines[0]
    order = np.argsort(position[:, 0])
    assert np.allclose(error.get_ydata(), (predicted - truth)[-1, order])
    assert texts_apart(figure)
    lines = figures.plan(TUBE, position[:5], position[5:8], position[8:9], position)
    assert texts_apart(lines)
    assert (
        labels(figures.source_errors(TUBE, position[:3], np.array([0.1, 0.2, 0.3]), position[3:]).axes[0])[0] == "x (m)"
    )


def test_responses_show_pressure_over_time_and_a_spectrum_in_decibels():
    amplitude, frequency = 0.3, 400.0
    tone = amplitude * np.cos(2.0 * np.pi * frequency * TIME[:-1]) * np.ones((5, 1))
    place = np.arange(10.0).reshape(5, 2)
    figure = figures.responses(TIME[:-1], tone, {"modal": 0.1 * tone, "two-step": tone}, place, f_max=900.0)
    upper, lower = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title(loc="left") for axes in upper] == [
        f"Receiver at ({2 * i:.2f}, {2 * i + 1:.2f}) m" for i in (0, 2, 4)
    ]
    assert labels(upper[0]) == ("time (ms)", "pressure (Pa)")
    assert labels(lower[0]) == ("frequency (Hz)", "spectrum (dB re 1 Pa/Hz)")
    assert lower[0].get_xlim() == (0.0, 900.0)
    truth, modal, _ = (line.get_ydata() for line in lower[0].lines)
    peak = np.argmax(truth)
    assert lower[0].lines[0].get_xdata()[peak] == pytest.approx(frequency, abs=3.0)
    assert truth[peak] == pytest.approx(20.0 * np.log10(amplitude * TIME[100] / 2.0), abs=0.1)
    assert modal[peak] == pytest.approx(truth[peak] - 20.0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "modal", "two-step"]
    assert texts_apart(figure)


def rows():
    yield dict(name="nearest source", rel_l2_mean=0.21, bytes=2.1e8, train_cpu_s=0.0, kind="lookup")
    yield dict(name="linear interpolation", rel_l2_mean=0.19, bytes=2.1e8, train_cpu_s=0.0, kind="lookup")
    yield dict(name="cubic interpolation", rel_l2_mean=0.18, bytes=2.0e8, train_cpu_s=1.2, kind="lookup")
    yield dict(name="ridge", rel_l2_mean=0.0051, bytes=1.5e7, train_cpu_s=8.3, kind="closed form")
    yield dict(name="modal", rel_l2_mean=0.0049, bytes=1.2e7, train_cpu_s=11.0, kind="closed form")
    yield dict(name="two-step", rel_l2_mean=0.0050, bytes=1.3e7, train_cpu_s=95.0, kind="neural")
    yield dict(name="DeepONet, published", rel_l2_mean=0.0048, bytes=1.4e7, train_cpu_s=None, kind="published")


def test_labels_of_crowded_peers_cover_neither_each_other_nor_a_point():
    figure = figures.peers(list(rows()))
    (axes,) = figure.axes
    assert labels(axes) == ("size (bytes)", "relative L2 error, held-out sources (%)")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [line.get_ydata()[0] for line in axes.lines] == [0.5]
    boxes = word_boxes(figure)[:8]
    assert len(axes.texts) == 8
    line = axes.transData.transform((1e6, 0.5))[1]
    assert not any(box.y0 < line < box.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    points = axes.transData.transform([(row["bytes"], 100.0 * row["rel_l2_mean"]) for row in rows()])
    assert not any(box.contains(x, y) for box in boxes for x, y in points)
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
    assert {axes.texts[1].get_text(), axes.texts[7].get_text()} == {"nearest source\n0 CPU s", "DeepONet, published"}


def test_peers_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match=r"expected kinds lookup, closed form, neural, published, got \['magic'\]"):
        figures.peers([dict(name="a", rel_l2_mean=0.1, bytes=10, train_cpu_s=None, kind="magic")])


def test_learning_curves_leave_out_what_a_logarithm_cannot_show():
    figure = figures.learning({"a": (np.arange(4.0), np.array([1.0, 0.1, 0.0, 0.01]))})
    (axes,) = figure.axes
    assert labels(axes) == ("CPU time (s)", "training loss (relative, squared)")
    assert axes.lines[0].get_xdata().tolist() == [0.0, 1.0, 3.0]


def test_decay_shades_the_training_window_and_draws_finite_levels():
    level = -300.0 * TIME
    level[-1] = -np.inf
    figure = figures.decay(TIME, level, level - 1.0, 0.02)
    (axes,) = figure.axes
    assert labels(axes) == ("time (ms)", "energy (dB)")
    assert axes.patches[0].get_extents().transformed(axes.transData.inverted()).intervalx == pytest.approx([0.0, 20.0])
    assert axes.texts[0].get_text() == "training\nwindow"
    assert all(np.all(np.isfinite(line.get_ydata())) for line in axes.lines)
    assert texts_apart(figure)


def test_source_errors_are_per_cent_and_the_worst_is_ringed(sources):
    training, held_out = sources
    errors = np.array([0.001, 0.004, 0.03, 0.002, 0.0])
    figure = figures.source_errors(FURNISHED, held_out, errors, training)
    axes = figure.axes[0]
    named = {c.get_label(): c for c in axes.collections}
    assert np.allclose(named["held-out sources"].get_array(), 100.0 * errors)
    assert np.allclose(named["worst"].get_offsets(), held_out[2])
    assert axes.get_title(loc="left") == f"Worst 3 % at ({held_out[2, 0]:.2f}, {held_out[2, 1]:.2f}) m"
    assert figure.axes[1].get_ylabel() == "relative L2 error (%)"
    assert texts_apart(figure)


def test_modes_without_decay_are_counted_instead_of_drawn():
    figure = figures.modes(np.array([0.0, 85.0, 170.0]), np.array([np.inf, 0.5, 0.1]), np.array([85.75, 171.5]))
    (axes,) = figure.axes
    assert labels(axes) == ("frequency (Hz)", "decay time to 60 dB (s)")
    assert np.allclose(axes.collections[0].get_offsets(), [[85.0, 0.5], [170.0, 0.1]])
    assert axes.get_title(loc="left") == "1 modes without decay are not shown"


def test_figures_enter_a_report_with_the_house_style(tmp_path, sources):
    report = Report("Rooms")
    figure = figures.plan(FURNISHED, *sources, sources[1], nodes(FURNISHED))
    report.figure("plan", figure, "The room.")
    assert (report.write(tmp_path).parent / "plots/plan.png").stat().st_size > 10_000
    assert to_rgb(figure.axes[0].xaxis.label.get_color()) == to_rgb("#39424a")
