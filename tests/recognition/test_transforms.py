import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from araflow.media.quantize import dequantize, quantize
from araflow.optical import load
from araflow.recognition.data.transforms import (
    PLACES,
    View,
    coloured,
    cropped,
    evaluation_view,
    negated,
    normalised,
    pixel_gains,
    training_view,
)
from araflow.recognition.spec import DataSpec
from araflow.recognition.streams import StreamSpec

BOUND = 20.0
RAW = {"mean": (0.0,), "std": (1 / 255,)}
"""Normalisation that gives the levels back."""
ROUNDING = 0.5 + 0.25
"""To whole levels; and OpenCV's matrix has 10 binary places for 8-bit pixels."""


def stream(frames=1, width=224, height=224, **settings):
    return StreamSpec.model_validate({"frames": frames, "width": width, "height": height, **settings})


def data(**settings):
    return DataSpec.model_validate({"flip": 0.0, **settings})


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def scene(height, width, seed=0):
    """A smooth picture: blurred noise, as bright as a photograph."""
    picture = cv2.GaussianBlur(noise(height, width, 3, seed=seed), (0, 0), 3)
    return cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)


def test_the_whole_frame_is_stretched_as_opencv_does_it():
    frames = noise(3, 240, 320, 3)
    found = cropped(frames, stream(3), View())
    assert np.array_equal(found, [cv2.resize(frame, (224, 224)) for frame in frames])


def test_a_crop_equals_resizing_first_up_to_a_shift_of_half_a_pixel():
    frame = scene(240, 320)
    view = evaluation_view(stream(), (240, 320), short_side=256, center_crop=True)
    whole = cv2.resize(frame, (341, 256))
    expected = whole[16:240, 58:282]  # the middle of 341x256
    found = cropped([frame], stream(), view)[0]
    steps = max(np.abs(np.diff(frame.astype(int), axis=axis)).max() for axis in (0, 1))
    assert np.abs(found.astype(int) - expected).max() <= steps  # nowhere further off than one pixel's step
    assert np.abs(found.astype(int) - expected).mean() < 0.3 * steps


def test_a_crop_that_needs_no_resizing_is_a_copy():
    frame = noise(256, 300, 3)
    view = evaluation_view(stream(), (256, 300), short_side=256, center_crop=True)
    assert np.array_equal(cropped([frame], stream(), view)[0], frame[16:240, 38:262])


def test_no_pixel_is_missed_where_frames_shrink_much():
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[::4, ::4] = 255  # a sixteenth of the pixels, all of which bilinear resizing by six could miss
    found = cropped([frame], stream(width=320, height=180), View())
    assert abs(found.mean() - 255 / 16) < 2


def test_both_streams_show_the_same_part_whatever_their_sizes():
    """A coarse flow field with one marked block, against frames with the same block marked."""
    frame, flow = np.zeros((240, 320, 3), np.uint8), np.zeros((60, 80, 2), np.uint8)
    frame[80:160, 120:200], flow[20:40, 30:50] = 255, 255
    rng = np.random.default_rng(3)
    for _ in range(20):
        view = training_view(data(crop="random"), stream(), (240, 320), rng)
        seen = [cropped([picture], stream(), view)[0, ..., 0] > 127 for picture in (frame, flow)]
        boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in seen]
        assert np.abs(np.subtract(*boxes)).max() <= 4  # a flow pixel is four of a frame's


def test_random_crops_are_of_the_short_side_s_scale_and_go_everywhere():
    rng = np.random.default_rng(0)
    views = [training_view(data(), stream(), (240, 320), rng) for _ in range(3000)]
    assert {(view.width, view.height) for view in views} == {(224 / 341, 224 / 256)}
    lefts, tops = ({getattr(view, name) for view in views} for name in ("left", "top"))
    assert max(lefts) == (341 - 224) / 341 and max(tops) == (256 - 224) / 256 and min(lefts) == min(tops) == 0
    assert len(lefts) == 118 and len(tops) == 33
    assert training_view(data(short_side=100), stream(), (240, 320), rng) == View(width=1.0, height=1.0)


def test_multi_scale_crops_are_squares_at_thirteen_places():
    rng = np.random.default_rng(0)
    settings = data(crop="multi_scale", scales=(1.0, 0.75, 0.5))
    views = {training_view(settings, stream(), (240, 320), rng) for _ in range(2000)}
    assert {(view.width * 320, view.height * 240) for view in views} == {(side, side) for side in (240, 180, 120)}
    half = [view for view in views if view.height == 0.5]
    places = {(round(view.left / (1 - view.width) * 4), round(view.top / (1 - view.height) * 4)) for view in half}
    assert places == set(PLACES) and len(places) == len(half) == 13


def test_none_stretches_and_flips_come_as_often_as_asked():
    rng = np.random.default_rng(0)
    views = [training_view(data(crop="none", flip=0.25), stream(), (240, 320), rng) for _ in range(2000)]
    assert {(view.left, view.top, view.width, view.height) for view in views} == {(0, 0, 1, 1)}
    assert 420 < sum(view.mirrored for view in views) < 580


@pytest.mark.parametrize("crop", ["random", "multi_scale", "none"])
@given(st.integers(16, 400), st.integers(16, 400), st.integers(0, 99))
def test_every_view_lies_within_the_frame(crop, height, width, seed):
    settings = data(crop=crop, scales=(1.0, 0.3))
    spec = stream(width=32, height=48)
    view = training_view(settings, spec, (height, width), np.random.default_rng(seed))
    assert view.left >= 0 and view.left + view.width <= 1 + 1e-9
    assert view.top >= 0 and view.top + view.height <= 1 + 1e-9
    assert cropped([np.zeros((height, width, 2), np.uint8)], spec, view).shape == (1, 48, 32, 2)


def test_colours_are_drawn_once_for_the_window_from_the_range_asked_for():
    rng = np.random.default_rng(0)
    settings = data(brightness=0.4, contrast=0.2)
    views = [training_view(settings, stream(), (240, 320), rng) for _ in range(500)]
    assert 0.6 <= min(v.brightness for v in views) < 0.62 and 1.38 < max(v.brightness for v in views) <= 1.4
    assert min(v.contrast for v in views) >= 0.8 and max(v.contrast for v in views) <= 1.2
    assert {v.saturation for v in views} == {1.0}


def test_colours_change_as_their_formulas_say():
    pictures = (noise(2, 8, 8, 3) // 4 + 80).astype(np.uint8)  # far from 0 and 255, so that nothing is cut
    exact = pictures.astype(float)
    grey = exact @ [0.299, 0.587, 0.114]
    expected = {
        "brightness": exact * 1.2,
        "contrast": grey.mean() + 1.2 * (exact - grey.mean()),
        "saturation": grey[..., None] + 1.2 * (exact - grey[..., None]),
    }
    for name, values in expected.items():
        assert np.abs(coloured(pictures, View(**{name: 1.2})) - values).max() <= ROUNDING
    assert coloured(pictures, View()) is pictures
    bright = exact * 1.1
    mean = (bright @ [0.299, 0.587, 0.114]).mean()
    contrasted = mean + 0.8 * (bright - mean)
    own = (contrasted @ [0.299, 0.587, 0.114])[..., None]
    all_three = own + 1.3 * (contrasted - own)
    assert np.abs(coloured(pictures, View(brightness=1.1, contrast=0.8, saturation=1.3)) - all_three).max() <= ROUNDING


def test_colours_are_cut_at_black_and_white_and_without_saturation_all_are_grey():
    pictures = noise(2, 8, 8, 3)
    assert coloured(pictures, View(brightness=2.0)).max() == 255
    colourless = coloured(pictures, View(saturation=0.0)).astype(int)
    assert np.ptp(colourless, axis=-1).max() == 0


def test_normalisation_is_per_channel_and_in_the_channel_s_place():
    pictures = noise(4, 8, 6, 3)
    spec = stream(4, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    found = normalised(pictures, "rgb", spec)
    expected = (pictures / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert found.shape == (3, 4, 8, 6) and found.dtype == np.float32 and found.flags.c_contiguous
    assert np.allclose(found, expected.transpose(3, 0, 1, 2), atol=1e-6)
    mirrored = normalised(pictures, "rgb", spec, mirrored=True)
    assert np.array_equal(mirrored, found[..., ::-1])


def flows(rng, height=12, width=16, speed=30.0):
    return rng.normal(0, speed / 3, (height, width, 2)).astype(np.float32)


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_flow_in_pixels_is_twenty_pixels_over_half_the_levels_in_every_field(quantizer):
    rng = np.random.default_rng(0)
    stored, levels, radii = [], [], []
    for number in range(5):
        u, v, radius = quantize(flows(rng, speed=3.0 * 4**number), quantizer, 15.0)
        stored.append(np.stack([u, v], axis=-1))
        radii.append(radius)
        scale = {"bound": 15.0} if quantizer == "bound" else {"radius": radius}
        levels.append((dequantize(u, v, **scale) + 20) / 40 * 255)
    gains = pixel_gains(bound=15.0) if quantizer == "bound" else pixel_gains(radii=radii)
    found = normalised(np.stack(stored), "flow", stream(5, **RAW), gains=gains)
    assert np.allclose(found.transpose(1, 2, 3, 0), levels, rtol=1e-5, atol=1e-3)
    assert np.abs(levels).max() > 255 or quantizer == "bound"  # fast motion is not cut
    mirrored = normalised(np.stack(stored), "flow", stream(5, **RAW), mirrored=True, quantizer=quantizer, gains=gains)
    most = gains.max() * (1 if quantizer == "max_radius" else 0) + 1e-3
    assert np.abs(mirrored[0] - (255 - found[0, ..., ::-1])).max() <= most


def test_gains_need_one_scale():
    for wrong in ({}, {"bound": 20.0, "radii": [1.0]}):
        with pytest.raises(ValueError, match="exactly one"):
            pixel_gains(**wrong)
    assert pixel_gains(bound=20.0) == pytest.approx([1.0])


def test_negation_keeps_the_zero_of_the_code_that_has_one_and_never_wraps():
    levels = np.arange(256, dtype=np.uint8)
    assert negated(levels, "bound").tolist() == list(range(255, -1, -1))
    for quantizer in ("max_radius", None):
        assert negated(levels, quantizer).tolist() == [255, *range(255, 0, -1)]
    assert negated(np.uint8([128]), "max_radius") == 128


def levels_of(pictures, quantizer, mirrored):
    return normalised(pictures, "flow", stream(len(pictures), **RAW), mirrored=mirrored, quantizer=quantizer)


def flipped(field):
    return np.ascontiguousarray(field[:, ::-1] * np.float32([-1, 1]))


def assert_flips_alike(fields, quantizer):
    """Flipping what is stored must be storing what is flipped, within one level."""
    stored, of_mirrored = (
        np.stack([np.stack(quantize(field, quantizer, BOUND)[:2], axis=-1) for field in some])
        for some in (fields, [flipped(field) for field in fields])
    )
    difference = levels_of(stored, quantizer, True) - levels_of(of_mirrored, quantizer, False)
    assert np.abs(difference[0]).max() <= 1 + 1e-4
    assert np.abs(difference[1]).max() <= 1e-4  # v only changes place


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
@given(arrays.arrays(np.float32, (5, 4, 2), elements=st.floats(-60, 60, width=32)))
def test_flipping_stored_flow_is_storing_flipped_flow_within_one_level(quantizer, field):
    assert_flips_alike([field], quantizer)


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_flipping_stored_flow_of_known_motions(quantizer):
    y, x = np.mgrid[-60:60, -80:80].astype(np.float32)
    zoom, turn = np.dstack([x, y]) / 16, np.dstack([-y, x]) / 10
    steps = [np.full((120, 160, 2), step, np.float32) for step in ((0, 0), (3.25, -1.5), (-20, 20), (35, 0.01))]
    assert_flips_alike([zoom, turn, *steps], quantizer)


def test_flow_of_a_mirrored_video_is_the_flipped_flow_of_the_video():
    """Computed by DIS, which begins at the upper left and is not quite symmetric, on a texture that moves and grows."""
    texture = cv2.cvtColor(scene(400, 480, seed=4), cv2.COLOR_RGB2GRAY)

    def frame(number):
        moved = np.float64([[1 + 0.004 * number, 0, -60 - 3.3 * number], [0, 1 + 0.004 * number, -60 + 1.7 * number]])
        return cv2.warpAffine(texture, moved, (320, 240), flags=cv2.INTER_CUBIC)

    video = [frame(number) for number in range(4)]
    dis = load("opencv")
    there = list(dis.compute(video, "dis", "balanced"))
    back = list(dis.compute([np.ascontiguousarray(picture[:, ::-1]) for picture in video], "dis", "balanced"))
    # Seen with OpenCV 5.0: bound, all but 0.05 % of the components within one level, the worst 4; max_radius, 93 %, the
    # worst 19 (the field's fastest pixel sets the scale, and every level but the zero comes out one too high).
    for quantizer, least in (("bound", 0.99), ("max_radius", 0.85)):
        kept = [np.stack([np.stack(quantize(f, quantizer, BOUND)[:2], axis=-1) for f in fs]) for fs in (there, back)]
        computed, same = levels_of(kept[1], quantizer, False), levels_of(kept[0], quantizer, False)
        difference = np.abs(levels_of(kept[0], quantizer, True) - computed)
        assert (difference <= 1 + 1e-4).mean() > least and np.median(difference) <= 1 + 1e-4
        assert np.abs(same[0] - computed[0]).mean() > 20  # it does move: left unflipped, u would be far off


def test_a_window_of_the_wrong_length_is_refused():
    for count in (0, 2, 4):
        with pytest.raises(ValueError, match=f"expected 3 frames, found {count}"):
            cropped(noise(count, 20, 20, 3), stream(3, 16, 16), View())
