import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.errors import SpecError
from araflow.recognition.data.samplers import evaluation_windows, shorter, training_window
from araflow.recognition.spec import DataSpec

SAMPLERS = ("consecutive", "random_interval", "segments", "dense")
FRAMES, LENGTHS, RATES = st.integers(1, 300), st.integers(1, 64), st.integers(1, 4)


def data(**settings):
    return DataSpec.model_validate(settings)


def windows(frames, length, mode="center", *, sampler="consecutive", rate=1, short="loop", segments=10):
    return evaluation_windows(
        frames, length, sampler=sampler, sample_rate=rate, short_clip=short, mode=mode, segments=segments
    )


def test_center_windows_are_tao_s():
    assert windows(128, 32).tolist() == [list(range(48, 80))]
    assert windows(33, 32).tolist() == [list(range(1, 33))]
    assert windows(20, 32).tolist() == [[*range(20), *range(12)]]
    assert windows(100, 8, rate=4).tolist() == [list(range(34, 66, 4))]  # int((100 - 32 + 1) / 2)


def test_conv_windows_are_tao_s():
    assert windows(128, 32, "conv")[:, 0].tolist() == [4, 14, 24, 33, 43, 53, 63, 72, 82, 92]
    assert windows(33, 32, "conv")[:, 0].tolist() == [0] * 5 + [1] * 5
    assert windows(32, 32, "conv")[:, 0].tolist() == [0] * 10
    assert windows(20, 32, "conv").tolist() == [[*range(20), *range(12)]]
    assert (np.diff(windows(128, 32, "conv"), axis=1) == 1).all()


def test_conv_starts_are_rounded_as_tao_s_floating_point_rounds_them():
    assert windows(9, 8, "conv", segments=29)[14, 0] == int(2 / 29 / 2 + 2 / 29 * 14) == 0  # exactly it would be 1


def test_all_takes_every_frame_once_but_for_the_tail():
    assert windows(100, 32, "all").tolist() == np.arange(96).reshape(3, 32).tolist()
    strided = windows(37, 4, "all", rate=3)
    assert strided.shape == (9, 4) and strided[:2].tolist() == [[0, 3, 6, 9], [1, 4, 7, 10]]
    assert sorted(strided.ravel().tolist()) == list(range(36))
    assert windows(20, 32, "all").tolist() == [[*range(20), *range(12)]]


def test_a_short_clip_can_repeat_its_last_frame_or_be_refused():
    assert windows(5, 8, short="repeat").tolist() == [[0, 1, 2, 3, 4, 4, 4, 4]]
    with pytest.raises(SpecError, match="refuse: the clip has 5 frames, a window needs 8"):
        windows(5, 8, short="refuse")
    with pytest.raises(SpecError, match="refuse"):
        training_window(5, 8, data(short_clip="refuse"), np.random.default_rng(0))
    assert windows(7, 4, rate=2, short="refuse").tolist() == [[0, 2, 4, 6]]  # all there, though less than 4 × 2


def test_random_interval_is_scored_by_middles_or_by_interleaved_windows():
    assert windows(100, 8, sampler="random_interval").tolist() == [[int(6.25 + 12.5 * i) for i in range(8)]]
    for mode in ("conv", "all"):
        found = windows(35, 8, mode, sampler="random_interval", segments=10)
        assert found.tolist() == [[k + 4 * i for i in range(8)] for k in range(4)]
    assert windows(3, 6, sampler="random_interval").tolist() == [[0, 0, 1, 1, 2, 2]]


def test_segments_are_scored_by_middles_or_by_parts_of_each():
    assert windows(100, 4, sampler="segments").tolist() == [[12, 37, 62, 87]]
    assert windows(100, 4, "conv", sampler="segments", segments=5)[:, 0].tolist() == [2, 7, 12, 17, 22]
    assert sorted(windows(32, 8, "all", sampler="segments").ravel().tolist()) == list(range(32))
    assert windows(3, 6, "conv", sampler="segments", segments=1).tolist() == [[0, 0, 1, 1, 2, 2]]


def test_dense_windows_span_64_frames_or_the_whole_of_a_shorter_clip():
    assert windows(164, 8, sampler="dense", rate=5).tolist() == [list(range(50, 114, 8))]
    assert windows(40, 8, sampler="dense").tolist() == [list(range(0, 40, 5))]
    assert windows(100, 80, sampler="dense").tolist() == [list(range(10, 90))]
    assert windows(164, 8, "conv", sampler="dense")[:, 0].tolist() == [int(5.05 + 10.1 * i) for i in range(10)]


@given(FRAMES, LENGTHS, RATES, st.sampled_from(SAMPLERS), st.sampled_from(["loop", "repeat"]), st.integers(0, 99))
def test_every_training_window_is_whole_in_range_and_in_order(frames, length, rate, sampler, short, seed):
    settings = data(sampler=sampler, sample_rate=rate, short_clip=short)
    found = training_window(frames, length, settings, np.random.default_rng(seed))
    assert found.shape == (length,) and found.dtype == np.int64
    assert found.min() >= 0 and found.max() < frames
    fits = sampler != "consecutive" or frames >= length * rate
    if sampler in ("segments", "random_interval") or short == "repeat" or (fits and frames >= length):
        assert (np.diff(found) >= 0).all()


@given(
    FRAMES,
    LENGTHS,
    RATES,
    st.sampled_from(SAMPLERS),
    st.sampled_from(["center", "conv", "all"]),
    st.integers(1, 12),
)
def test_every_evaluation_window_is_whole_and_in_range(frames, length, rate, sampler, mode, segments):
    found = windows(frames, length, mode, sampler=sampler, rate=rate, segments=segments)
    assert found.ndim == 2 and found.shape[1] == length and len(found) >= 1 and found.dtype == np.int64
    assert found.min() >= 0 and found.max() < frames
    if mode == "center":
        assert len(found) == 1
    if mode == "conv" and (sampler == "segments" or (sampler == "consecutive" and frames >= length * rate)):
        assert len(found) == segments
    if mode == "all" and sampler != "segments":
        counts = np.bincount(found.ravel())
        assert counts.max() == 1 or frames < length * (rate if sampler == "consecutive" else 1)


@pytest.mark.parametrize(("sampler", "frames", "length", "rate", "starts"), [
    ("consecutive", 20, 4, 4, range(5)),
    ("consecutive", 16, 4, 4, range(1)),
    ("dense", 70, 32, 1, range(7)),
    ("segments", 64, 4, 1, range(16)),
    ("random_interval", 67, 4, 1, range(16)),
])  # fmt: skip
def test_every_valid_training_start_is_equally_likely(sampler, frames, length, rate, starts):
    settings, rng = data(sampler=sampler, sample_rate=rate), np.random.default_rng(5)
    drawn = np.bincount([training_window(frames, length, settings, rng)[0] for _ in range(4000)])
    assert len(drawn) == len(starts)
    expected = 4000 / len(starts)
    assert (abs(drawn - expected) < 5 * np.sqrt(expected) + 1).all()


def test_segments_reach_the_end_of_the_clip_and_intervals_do_not():
    def last(sampler):
        rng = np.random.default_rng(0)
        return max(training_window(63, 32, data(sampler=sampler), rng)[-1] for _ in range(500))

    assert last("segments") == 62
    assert last("random_interval") == 31


def test_a_shorter_stream_takes_its_frames_evenly_from_the_longer_one():
    window = np.arange(100, 132)
    assert shorter(window, 32).tolist() == window.tolist()
    assert shorter(window, 4).tolist() == [104, 112, 120, 128]
    assert shorter(np.stack([window, window + 1]), 1).tolist() == [[116], [117]]
    with pytest.raises(ValueError, match="length must be 1 to 32"):
        shorter(window, 33)


@pytest.mark.parametrize(("frames", "length"), [(0, 4), (4, 0)])
def test_nothing_cannot_be_sampled(frames, length):
    with pytest.raises(ValueError, match="at least 1"):
        training_window(frames, length, data(), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 1"):
        windows(frames, length)
    with pytest.raises(ValueError, match="segments"):
        windows(4, 4, segments=0)
