import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from araflow.media.quantize import dequantize, quantize, saturated

LEVEL_TOLERANCE = 1e-4
"""Allowed beyond half a step, in steps: levels up to 256 in float32 carry 2^-16, and a few operations add theirs."""


def flow_of(u, v=0.0) -> np.ndarray:
    u, v = np.broadcast_arrays(np.asarray(u, np.float32), np.asarray(v, np.float32))
    return np.ascontiguousarray(np.stack([np.atleast_2d(u), np.atleast_2d(v)], axis=-1))


def fields(largest: float):
    """Flow fields of any small shape, so that vector code's remainders are met too."""
    return hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=37).map(lambda shape: (*shape, 2)),
        elements=st.floats(-largest, largest, width=32, allow_subnormal=False),
        fill=st.floats(-largest, largest, width=32, allow_subnormal=False),
    )


# --- bound


@pytest.mark.parametrize("bound", [0.5, 15.0, 20.0, 4096.0])
def test_bound_known_answers(bound):
    u, v, radius = quantize(
        flow_of([0.0, bound, -bound, 2 * bound, -1e6], [-1e6, 0.0, 2 * bound, -bound, bound]), "bound", bound
    )
    assert u.tolist() == [[128, 255, 0, 255, 0]]
    assert v.tolist() == [[0, 128, 255, 0, 255]]
    assert radius is None


def test_components_beyond_the_bound_are_counted_exactly():
    step = 40 / 255
    # Stored as 0 or 255, but not beyond the bound: the first and the last level reach half a step inside it.
    beyond = np.nextafter(np.float32(20), np.float32(99))
    flow = flow_of([0.0, 20.0, -20.0, 20.01, -21.0, 20 - 0.4 * step], [beyond, *[0.0] * 5])
    u, v, _ = quantize(flow, "bound", 20.0)
    assert saturated(flow, u, v, 20.0) == 3


@given(fields(30.0), st.sampled_from([1.0, 15.0, 20.0, 21.75, 100.0]))
def test_the_count_of_saturated_components_is_the_plain_one(flow, bound):
    u, v, _ = quantize(flow, "bound", bound)
    assert saturated(flow, u, v, bound) == (np.abs(flow) > bound).sum()


def test_bound_steps_are_those_of_i3d():
    # 255 steps over ±20 px: 0.157 px each; level q covers [q - 0.5, q + 0.5].
    step = 40 / 255
    u, _, _ = quantize(
        flow_of([0.49 * step, 0.51 * step, -0.51 * step, 1.49 * step, -1.51 * step, 10.0]), "bound", 20.0
    )
    assert u.tolist() == [[128, 128, 127, 129, 126, 191]]
    assert dequantize(u, u, bound=20.0)[0, 0, 0] == pytest.approx(step / 2)


@given(fields(30.0), st.sampled_from([1.0, 15.0, 20.0, 21.7]))
def test_bound_is_the_documented_formula(flow, bound):
    u, v, _ = quantize(flow, "bound", bound)
    exact = (flow.astype(np.float64) + bound) * 255 / (2 * bound)
    expected = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    found = np.stack([u, v], axis=-1)
    assert found.dtype == np.uint8
    # Where the value lies on the border between two levels, float32 may fall to the other side.
    tie = np.abs(exact - np.floor(exact) - 0.5) < LEVEL_TOLERANCE
    np.testing.assert_array_equal(found[~tie], expected[~tie])
    assert (np.abs(found[tie].astype(int) - expected[tie]) <= 1).all()


@given(st.data(), st.floats(0.25, 4096.0))
def test_bound_inverts_within_half_a_step(data, bound):
    flow = data.draw(fields(float(np.float32(bound))))
    u, v, _ = quantize(flow, "bound", bound)
    back = dequantize(u, v, bound=bound)
    assert (back.dtype, back.shape) == (np.float32, flow.shape)
    step = 2 * bound / 255
    assert np.abs(back.astype(np.float64) - flow).max() <= step * (0.5 + LEVEL_TOLERANCE)


@given(st.floats(0.25, 4096.0))
def test_bound_every_level_survives_the_way_there_and_back(bound):
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    u, v, _ = quantize(dequantize(levels, levels[::-1], bound=bound), "bound", bound)
    np.testing.assert_array_equal(u, levels)
    np.testing.assert_array_equal(v, levels[::-1])


# --- max_radius


def nvidia(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """``max_rad_grayscale`` of NVIDIA's convert_of.py, as its float32 arrays compute it."""
    u, v = flow[..., 0], flow[..., 1]
    m = max(np.float32(1.0), np.max(np.sqrt(u**2 + v**2)))
    return (u / m * 127.999 + 128).astype(np.uint8), (v / m * 127.999 + 128).astype(np.uint8), m


@pytest.mark.parametrize("m", [1.0, 3.0, 10.0, 1234.5])
def test_max_radius_known_answers(m):
    u, v, radius = quantize(
        flow_of([m, -m, 0.0, 0.0, 0.0, -0.005 * m, 0.005 * m], [0.0, 0.0, m, -m, 0.0, 0.0, 0.0]), "max_radius", None
    )
    assert u.tolist() == [[255, 0, 128, 128, 128, 127, 128]]
    assert v.tolist() == [[128, 128, 255, 0, 128, 128, 128]]
    assert radius == np.float32(m)
    assert type(radius) is float


def test_max_radius_is_the_length_of_the_vector_not_of_a_component():
    u, v, radius = quantize(flow_of([3.0, 0.0], [-4.0, 1.0]), "max_radius", None)
    assert radius == 5.0
    assert u.tolist() == [[int(3 / 5 * 127.999 + 128), 128]]
    assert v.tolist() == [[int(-4 / 5 * 127.999 + 128), int(1 / 5 * 127.999 + 128)]]


@pytest.mark.parametrize("speed", [0.0, 1e-30, 0.25, 0.999])
def test_max_radius_never_magnifies_less_than_one_pixel(speed):
    u, v, radius = quantize(flow_of([0.0, speed], [speed, 0.0]), "max_radius", None)
    assert radius == 1.0
    assert u.tolist() == [[128, int(np.float32(speed) * 127.999 + 128)]]
    assert v.tolist() == [[int(np.float32(speed) * 127.999 + 128), 128]]


@given(st.one_of(fields(1.5), fields(40.0), fields(1e4)))
def test_max_radius_equals_nvidias_code_to_the_last_bit(flow):
    u, v, radius = quantize(flow, "max_radius", 99.0)  # the bound is of no account
    expected_u, expected_v, m = nvidia(flow)
    np.testing.assert_array_equal(u, expected_u)
    np.testing.assert_array_equal(v, expected_v)
    assert radius == m


@given(st.one_of(fields(0.875), fields(40.0), fields(1e4)))
def test_max_radius_inverts_within_half_a_step(flow):
    u, v, radius = quantize(flow, "max_radius", None)
    back = dequantize(u, v, radius=radius)
    assert (back.dtype, back.shape) == (np.float32, flow.shape)
    step = radius / 127.999
    assert np.abs(back.astype(np.float64) - flow).max() <= step * (0.5 + LEVEL_TOLERANCE)


# --- both


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_layout_in_memory_changes_nothing(quantizer):
    wide = np.random.default_rng(3).normal(0, 9, (31, 80, 2)).astype(np.float32)
    view = wide[::2, 3:60]
    u, v, radius = quantize(view, quantizer, 20.0)
    expected_u, expected_v, expected_radius = quantize(np.ascontiguousarray(view), quantizer, 20.0)
    np.testing.assert_array_equal(u, expected_u)
    np.testing.assert_array_equal(v, expected_v)
    assert radius == expected_radius
    assert (u.shape, u.dtype, v.shape, v.dtype) == ((16, 57), np.uint8, (16, 57), np.uint8)
    assert u.flags.c_contiguous
    assert v.flags.c_contiguous


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_the_field_itself_is_left_alone(quantizer):
    flow = np.random.default_rng(4).normal(0, 9, (12, 13, 2)).astype(np.float32)
    before = flow.copy()
    quantize(flow, quantizer, 20.0)
    np.testing.assert_array_equal(flow, before)


def test_bound_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="needs a bound"):
        quantize(flow_of([0.0]), "bound", None)


@pytest.mark.parametrize("scale", [{}, {"bound": 20.0, "radius": 3.0}])
def test_inverting_takes_exactly_one_scale(scale):
    image = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="exactly one of bound and radius"):
        dequantize(image, image, **scale)
