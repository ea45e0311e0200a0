"""What is selected of a dataset's clips."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.build import stages
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.core.listing import Listing


def test_a_selection_of_nothing_is_refused():
    with pytest.raises(SourceError, match="/videos: no clips found"):
        stages.selection(Listing(()), "/videos")


# --- a few clips per class ---

LISTED = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["train", "val", None]), st.integers(0, 400)),
    unique_by=lambda row: (row[0], row[2]),
    max_size=80,
)


def listed(rows: list[tuple[str | None, str | None, int]]) -> list[Clip]:
    return [Clip("test", f"{label}/{number:03d}", label, subset=subset) for label, subset, number in rows]


@given(LISTED, st.integers(1, 90), st.randoms(use_true_random=False))
def test_thinned_out_clips_are_as_many_as_asked_for_and_do_not_depend_on_the_order(rows, most, chance):
    clips = listed(rows)
    taken = stages.thin_out(clips, most)
    assert set(taken) <= set(clips)
    assert [clip.key for clip in taken] == sorted({clip.key for clip in taken})
    sizes = Counter((clip.label, clip.subset) for clip in clips)
    assert Counter((clip.label, clip.subset) for clip in taken) == {
        group: min(size, most) for group, size in sizes.items()
    }
    chance.shuffle(clips)
    assert stages.thin_out(clips, most) == taken
    assert stages.thin_out(taken, most) == taken


@given(st.integers(1, 300), st.integers(1, 40))
def test_thinned_out_clips_are_spread_over_all(size, most):
    clips = listed([("a", "train", number) for number in range(size)])
    places = [int(clip.key[2:]) for clip in stages.thin_out(clips, most)]
    steps = {after - before for before, after in itertools.pairwise([*places, size])}
    assert places[0] == 0
    assert max(steps) - min(steps) <= 1  # one after the other at equal distances, as whole numbers allow


@given(LISTED, st.integers(1, 90))
def test_thinning_out_one_class_does_not_depend_on_the_others(rows, most):
    clips = listed(rows)
    own = [clip for clip in clips if clip.label == "a"]
    assert [clip for clip in stages.thin_out(clips, most) if clip.label == "a"] == stages.thin_out(own, most)


def test_nothing_is_thinned_out_where_no_number_is_set():
    clips = listed([("b", None, 1), ("a", None, 2)])
    assert stages.thin_out(clips, None) == clips
    assert stages.thin_out([], 3) == []
