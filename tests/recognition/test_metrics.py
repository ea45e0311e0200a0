import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.errors import SpecError, TrainingError
from araflow.recognition.evaluation.metrics import Rate, measure, ranked, wilson

LABELS = ("walk", "run", "push")
# Six videos of two walks, three runs and one push. Called: walk, run | run, run, push | walk.
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]
)
TARGETS = np.array([0, 0, 1, 1, 1, 2])
CAMERA = ("moving", "static", "moving", "moving", None, "static")
ROWS = [{"camera": camera, "people": people} for camera, people in zip(CAMERA, (2, 1, 10, 1, 2, 1), strict=True)]


def figures(probabilities=PROBABILITIES, targets=TARGETS, labels=LABELS, **more) -> dict:
    return measure(probabilities, targets, labels, **more).to_json()


def problems():
    """Random probabilities, some of them equal, with random targets."""
    sizes = st.tuples(st.integers(1, 12), st.integers(2, 8), st.integers(0, 2**32 - 1))

    def draw(size):
        videos, classes, seed = size
        rng = np.random.default_rng(seed)
        weights = rng.integers(1, 5, (videos, classes)).astype(np.float64)
        return weights / weights.sum(axis=1, keepdims=True), rng.integers(0, classes, videos), [*"abcdefgh"[:classes]]

    return sizes.map(draw)


def test_six_videos_counted_by_hand():
    found = measure(PROBABILITIES, TARGETS, LABELS)
    assert (found.top1, found.top5, found.k) == (Rate(3, 6), Rate(6, 6), 3)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 2, 1], [1, 0, 0]]
    assert found.mean_class == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert [entry.recall for entry in found.classes] == [Rate(1, 2), Rate(2, 3), Rate(0, 1)]
    assert [entry.precision for entry in found.classes] == [Rate(1, 2), Rate(2, 3), Rate(0, 1)]
    assert [entry.f1 for entry in found.classes] == pytest.approx([1 / 2, 2 / 3, 0])
    assert (found.majority_label, found.majority) == ("run", Rate(3, 6))


def test_accuracy_by_attribute_leaves_out_what_is_not_known_and_orders_numbers_by_size():
    found = measure(PROBABILITIES, TARGETS, LABELS, rows=ROWS).attributes
    assert found["camera"] == {"moving": Rate(3, 3), "static": Rate(0, 2)}
    assert list(found["people"].items()) == [("1", Rate(1, 3)), ("2", Rate(1, 2)), ("10", Rate(1, 1))]
    assert list(found) == ["camera", "people"]


# Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_in_newcombes_table(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_exactly_at_zero_and_one_and_knows_nothing_of_no_trials():
    for count in (1, 3, 7, 111, 1530, 19_999):
        assert wilson(0, count)[0] == 0.0
        assert wilson(count, count)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 3000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_holds_the_share_and_mirrors(pair):
    hits, count = pair
    low, high = wilson(hits, count)
    assert 0 <= low <= hits / count <= high <= 1
    assert wilson(count - hits, count) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_of_equal_probabilities_the_lowest_class_index_comes_first():
    even = np.full((1, 4), 0.25)
    assert ranked(even).tolist() == [[0, 1, 2, 3]]
    assert ranked(np.array([[0.1, 0.3, 0.3, 0.3]]), 2).tolist() == [[1, 2]]
    many = np.tile([0.25, 0.5], (1, 200))  # enough for a sort that is not stable to show
    assert ranked(many, 400).tolist() == [[*range(1, 400, 2), *range(0, 400, 2)]]
    assert measure(even, np.array([0]), "abcd").top1.hits == 1
    assert measure(even, np.array([1]), "abcd").top1.hits == 0


def test_top_5_of_seven_classes_counts_the_fifth_and_not_the_sixth():
    probabilities = np.array([[0.25, 0.2, 0.17, 0.14, 0.11, 0.08, 0.05]] * 7)
    found = measure(probabilities, np.arange(7), "abcdefg")
    assert (found.k, found.top5, found.top1) == (5, Rate(5, 7), Rate(1, 7))


def test_a_class_without_videos_is_left_out_of_the_mean_and_is_null():
    found = measure(PROBABILITIES[:5], TARGETS[:5], LABELS)
    assert found.mean_class == pytest.approx((1 / 2 + 2 / 3) / 2)
    push = found.to_json()["classes"][2]
    assert (push["count"], push["recall"]["value"], push["precision"]["value"], push["f1"]) == (0, None, 0.0, 0.0)
    assert (push["recall"]["low"], push["recall"]["high"]) == (0.0, 1.0)


def test_a_class_that_is_neither_there_nor_called_has_no_f1():
    found = measure(np.array([[0.6, 0.3, 0.1]]), np.array([0]), LABELS)
    assert math.isnan(found.classes[2].f1)
    assert found.to_json()["classes"][2]["f1"] is None


def test_the_figures_are_json_without_nan():
    text = json.dumps(figures(PROBABILITIES[:2], TARGETS[:2], rows=ROWS[:2]), allow_nan=False)
    assert json.loads(text)["top1"] == {
        "value": 0.5,
        "low": pytest.approx(0.0945, abs=5e-5),
        "high": pytest.approx(0.9055, abs=5e-5),
        "hits": 1,
        "count": 2,
    }


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_videos_does_not_matter(problem, random):
    probabilities, targets, labels = problem
    order = list(range(len(targets)))
    random.shuffle(order)
    rows = [{"view": ("front", "back", None)[place % 3]} for place in range(len(targets))]
    assert figures(probabilities, targets, labels, rows=rows) == figures(
        probabilities[order], targets[order], labels, rows=[rows[place] for place in order]
    )


@given(problems())
def test_every_video_twice_changes_counts_but_no_share_and_narrows_the_interval(problem):
    probabilities, targets, labels = problem
    once = measure(probabilities, targets, labels)
    twice = measure(np.tile(probabilities, (2, 1)), np.tile(targets, 2), labels)
    assert (twice.confusion == 2 * once.confusion).all()
    assert (twice.top1.value, twice.mean_class, twice.majority_label) == (
        once.top1.value,
        once.mean_class,
        once.majority_label,
    )
    (low, high), (closer_low, closer_high) = once.top1.interval, twice.top1.interval
    assert closer_high - closer_low < high - low


@given(problems())
def test_the_figures_agree_with_the_confusion_matrix(problem):
    probabilities, targets, labels = problem
    found = measure(probabilities, targets, labels)
    assert found.confusion.sum() == len(targets)
    assert found.top1.hits == np.trace(found.confusion)
    assert [entry.recall.count for entry in found.classes] == found.confusion.sum(axis=1).tolist()
    assert [entry.precision.count for entry in found.classes] == found.confusion.sum(axis=0).tolist()
    assert found.top1.hits <= found.top5.hits


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_probability_that_is_no_number_names_its_clip(wrong):
    probabilities = PROBABILITIES.copy()
    probabilities[4, 1] = wrong
    keys = [f"run/{number}" for number in range(6)]
    with pytest.raises(TrainingError, match=r"'run/4' are not numbers \(1 of 6 videos\)"):
        measure(probabilities, TARGETS, LABELS, keys=keys)
    with pytest.raises(TrainingError, match="video 4"):
        measure(probabilities, TARGETS, LABELS)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(SpecError, match="split is empty"):
        measure(np.empty((0, 3)), np.empty(0, dtype=np.int64), LABELS)
    with pytest.raises(SpecError, match=r"shape \(6, 3\), but there are 6 videos and 2 classes"):
        measure(PROBABILITIES, TARGETS, LABELS[:2])
    with pytest.raises(SpecError, match="label_index of 'd' is not in 0 to 2"):
        measure(PROBABILITIES, np.array([0, 1, 2, 3, 0, 0]), LABELS, keys="abcdef")
