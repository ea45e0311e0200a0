import itertools
import random
from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import SpecError
from araflow.core.leakage import Leakage, LeakageReport, Seen, leakage
from araflow.core.spec import SplitSpec
from araflow.core.splits import SPLITS, assign, named, remark, settled, share
from araflow.datasets import hmdb51

HMDB5 = ("walk", "ride_bike", "run", "fall_floor", "push")


@pytest.fixture(scope="module")
def hmdb51_clips(official_splits):
    return hmdb51.list_clips(Sources(None, official_splits), None).clips


@pytest.fixture(scope="module")
def hmdb5_clips(hmdb51_clips):
    return [clip for clip in hmdb51_clips if clip.label in HMDB5]


def spec(protocol: str, **settings: object) -> SplitSpec:
    return SplitSpec.model_validate({"protocol": protocol, **settings})


def clip(label: str | None, name: str, group: str | None = "film", folds=(1, 2, 0)) -> Clip:
    return Clip(dataset="test", key=f"{label}/{name}", label=label, group=group, folds=folds)


def counts(clips, split_of, split: str) -> dict[str, int]:
    found = Counter(clip.label for clip in clips if split_of[clip.key] == split)
    return {label: found[label] for label in {clip.label: None for clip in clips}}


def leaks(clips, split_of) -> LeakageReport:
    return leakage(Seen(c.label, c.group, split_of[c.key]) for c in clips)


def sides(clips, split_of) -> dict[str, set[str]]:
    """The splits that each group is in."""
    result = defaultdict(set)
    for item in clips:
        result[item.group].add(split_of[item.key])
    return result


# --- known answers on the official lists ---


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_random_gives_the_counts_of_nvidias_model_card(hmdb5_clips, seed):
    split_of = assign(hmdb5_clips, spec("random", test_fraction=0.10, seed=seed))
    test, train = counts(hmdb5_clips, split_of, "test"), counts(hmdb5_clips, split_of, "train")
    assert [test[label] for label in HMDB5] == [54, 10, 23, 13, 11]
    assert [train[label] for label in HMDB5] == [494, 93, 209, 123, 105]
    assert (sum(test.values()), sum(train.values())) == (111, 1024)


def test_seeds_give_different_splits(hmdb5_clips):
    drawn = [assign(hmdb5_clips, spec(p, seed=s)) for p in ("random", "group") for s in (0, 1)]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))


def test_the_random_split_leaks_as_the_facts_say(hmdb5_clips):
    total = leaks(hmdb5_clips, assign(hmdb5_clips, spec("random"))).total
    assert total.test == 111
    assert total.same_class > 55  # most of the test set has been seen in training: why `group` exists


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_official_folds_are_70_and_30_per_class_without_a_shared_source(hmdb51_clips, fold):
    split_of = assign(hmdb51_clips, spec("official", fold=fold))
    assert Counter(split_of.values()) == {"train": 3570, "test": 1530, "unused": 1666}
    assert set(counts(hmdb51_clips, split_of, "train").values()) == {70}
    assert set(counts(hmdb51_clips, split_of, "test").values()) == {30}
    report = leaks(hmdb51_clips, split_of)
    assert len(report.by_class) == 51
    assert (report.total.same_class, report.total.test) == (0, 1530)


def test_official_folds_differ(hmdb51_clips):
    folds = [assign(hmdb51_clips, spec("official", fold=fold)) for fold in (1, 2, 3)]
    assert folds[0] != folds[1] != folds[2] != folds[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_group_shares_no_source_and_comes_near_the_fraction(hmdb51_clips, fraction, seed):
    split_of = assign(hmdb51_clips, spec("group", test_fraction=fraction, seed=seed))
    assert all(len(found) == 1 for found in sides(hmdb51_clips, split_of).values())
    assert leaks(hmdb51_clips, split_of).total.any_class == 0
    test = counts(hmdb51_clips, split_of, "test")
    sizes = Counter(clip.label for clip in hmdb51_clips)
    off = {label: abs(test[label] - share(fraction, size)) for label, size in sizes.items()}
    assert max(off.values()) <= 2, off
    assert sum(off.values()) <= 5, off  # of 51 classes; films with 18 classes in them cannot be cut finer


def test_group_on_hmdb5_reaches_the_random_counts(hmdb5_clips):
    split_of = assign(hmdb5_clips, spec("group"))
    test = counts(hmdb5_clips, split_of, "test")
    assert [test[label] for label in HMDB5] == [54, 10, 23, 13, 11]
    assert leaks(hmdb5_clips, split_of).total == Leakage(111, 0, 0)


@pytest.mark.parametrize("protocol", ["official", "random", "group"])
def test_val_comes_out_of_training_and_leaves_test_alone(hmdb5_clips, protocol):
    plain = assign(hmdb5_clips, spec(protocol))
    with_val = assign(hmdb5_clips, spec(protocol, val_fraction=0.2))
    moved = {(plain[key], with_val[key]) for key in plain if plain[key] != with_val[key]}
    assert moved == {("train", "val")}
    train, val = counts(hmdb5_clips, plain, "train"), counts(hmdb5_clips, with_val, "val")
    for label in HMDB5:
        assert abs(val[label] - share(0.2, train[label])) <= (3 if protocol == "group" else 0)
    if protocol == "group":
        assert all(len(found) == 1 for found in sides(hmdb5_clips, with_val).values())


# --- stability ---


@pytest.mark.parametrize("protocol", ["official", "random"])
def test_other_classes_do_not_change_a_classs_split(hmdb51_clips, hmdb5_clips, protocol):
    settings = spec(protocol, val_fraction=0.1)
    all_classes, five = assign(hmdb51_clips, settings), assign(hmdb5_clips, settings)
    assert {key: all_classes[key] for key in five} == five


@pytest.mark.parametrize("protocol", ["official", "random", "group"])
def test_the_order_of_clips_does_not_matter(hmdb5_clips, protocol):
    shuffled = list(hmdb5_clips)
    random.Random(3).shuffle(shuffled)
    settings = spec(protocol, val_fraction=0.1)
    assert assign(shuffled, settings) == assign(hmdb5_clips, settings)


def test_the_draw_is_the_same_on_every_platform_and_release():
    # Made once and kept: a change would reshuffle everybody's datasets.
    clips = [clip("walk", f"{number}", f"film{number // 3}") for number in range(12)]

    def drawn(protocol: str) -> dict[str, list[int]]:
        split_of = assign(clips, spec(protocol, test_fraction=0.25, val_fraction=0.25, seed=5))
        return {s: [n for n in range(12) if split_of[f"walk/{n}"] == s] for s in ("test", "val")}

    assert drawn("random") == {"test": [1, 8, 9], "val": [4, 5]}
    assert drawn("group") == {"test": [0, 1, 2], "val": [9, 10, 11]}


# --- small cases and errors ---


def test_official_tags_are_read_as_0_unused_1_train_2_test():
    clips = [clip("walk", "a", folds=(0, 1, 2))]
    assert [assign(clips, spec("official", fold=f))["walk/a"] for f in (1, 2, 3)] == ["unused", "train", "test"]


def test_official_without_folds_says_what_to_do():
    clips = [clip("walk", "a"), clip("walk", "b", folds=(1, None, None))]
    assert assign(clips, spec("official", fold=1))["walk/b"] == "train"
    with pytest.raises(SpecError, match=r"dataset\.splits=PATH.*'walk/b' has no fold 2.*split\.protocol=auto, random"):
        assign(clips, spec("official", fold=2))


@pytest.mark.parametrize("val", [0.0, 0.5])
def test_group_without_sources_says_what_to_do(val):
    with pytest.raises(SpecError, match=r"'walk/b' has none: use split\.protocol=random"):
        assign([clip("walk", "a"), clip("walk", "b", group=None)], spec("group", val_fraction=val))


def test_clips_without_a_label_form_one_class():
    clips = [clip(None, str(number)) for number in range(10)]
    split_of = assign(clips, spec("random", test_fraction=0.3))
    assert Counter(split_of.values()) == {"train": 7, "test": 3}


@pytest.mark.parametrize("protocol", ["official", "random", "group"])
def test_no_clips_give_no_splits(protocol):
    assert assign([], spec(protocol, val_fraction=0.5)) == {}


def test_a_class_of_one_source_is_not_torn():
    clips = [clip("walk", str(number)) for number in range(10)]
    assert set(assign(clips, spec("group", test_fraction=0.1)).values()) == {"train"}
    assert set(assign(clips, spec("group", test_fraction=0.9)).values()) == {"test"}


# --- share ---


@pytest.mark.parametrize(
    ("fraction", "size", "expected"),
    [(0.1, 548, 54), (0.29, 100, 29), (0.1, 10, 1), (0.1, 9, 0), (0.7, 10, 7), (0.57, 100, 57), (1e-5, 100_000, 1)],
)
def test_share_is_the_floor_of_the_decimal_that_was_written(fraction, size, expected):
    assert share(fraction, size) == expected


@given(st.integers(1, 999), st.integers(0, 5000))
def test_share_is_exact_for_every_decimal(thousandths, size):
    assert share(thousandths / 1000, size) == thousandths * size // 1000


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(0, 10**6))
def test_share_lies_within_one_below_the_product(fraction, size):
    exact = Fraction(str(fraction)) * size
    assert exact - 1 < share(fraction, size) <= exact


# --- properties ---

LABELS = st.sampled_from("abcd")
MADE = st.lists(st.tuples(LABELS, st.integers(0, 9)), min_size=1, max_size=60).map(
    lambda pairs: [clip(label, str(n), f"film{film}") for n, (label, film) in enumerate(pairs)]
)
ONE_CLASS_PER_FILM = st.lists(st.tuples(LABELS, st.integers(0, 9)), min_size=1, max_size=40).map(
    lambda pairs: [clip(label, str(n), f"{label}{film}") for n, (label, film) in enumerate(pairs)]
)
FRACTIONS = st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.8])
VALS = st.sampled_from([0.0, 0.1, 0.5])


@given(MADE, FRACTIONS, VALS, st.integers(0, 5), st.randoms())
def test_group_never_tears_a_source_and_every_clip_has_one_split(clips, test, val, seed, rng):
    settings = spec("group", test_fraction=test, val_fraction=val, seed=seed)
    split_of = assign(clips, settings)
    assert split_of.keys() == {c.key for c in clips}
    assert set(split_of.values()) <= {"train", "test", *(["val"] if val else [])} <= set(SPLITS)
    assert all(len(found) == 1 for found in sides(clips, split_of).values())
    shuffled = list(clips)
    rng.shuffle(shuffled)
    assert assign(shuffled, settings) == split_of


@given(ONE_CLASS_PER_FILM, FRACTIONS, st.integers(0, 3))
def test_group_is_as_near_the_fraction_as_whole_sources_allow(clips, fraction, seed):
    split_of = assign(clips, spec("group", test_fraction=fraction, seed=seed))
    test = counts(clips, split_of, "test")
    for label, got in test.items():
        sizes = list(Counter(c.group for c in clips if c.label == label).values())
        sums = {sum(chosen) for k in range(len(sizes) + 1) for chosen in itertools.combinations(sizes, k)}
        target = share(fraction, sum(sizes))
        assert abs(got - target) == min(abs(total - target) for total in sums)


@given(MADE, FRACTIONS, VALS, st.integers(0, 5))
def test_random_counts_are_exact_whatever_else_is_listed(clips, test, val, seed):
    settings = spec("random", test_fraction=test, val_fraction=val, seed=seed)
    split_of = assign(clips, settings)
    for label in {c.label for c in clips}:
        own = [c for c in clips if c.label == label]
        found = Counter(split_of[c.key] for c in own)
        assert found["test"] == share(test, len(own))
        assert found["val"] == share(val, len(own) - found["test"])
        assert assign(own, settings) == {c.key: split_of[c.key] for c in own}


@given(MADE, st.integers(1, 3), VALS, st.data())
def test_official_is_the_tag_and_val_only_eats_training(clips, fold, val, data):
    tags = data.draw(st.lists(st.integers(0, 2), min_size=len(clips), max_size=len(clips)))
    clips = [clip(c.label, c.key, c.group, folds=(tag, tag, tag)) for c, tag in zip(clips, tags, strict=True)]
    split_of = assign(clips, spec("official", fold=fold, val_fraction=val))
    for item in clips:
        name = ("unused", "train", "test")[item.folds[0]]
        assert split_of[item.key] == name or (name, split_of[item.key]) == ("train", "val")


# --- a list's or a folder's own splits ---


@pytest.mark.parametrize(
    ("text", "split"),
    [("Training", "train"), (" VAL ", "val"), ("valid", "val"), ("dev", "val"), ("TEST", "test"), ("testing", "test")],
)
def test_the_names_of_splits_are_known_in_any_case(text, split):
    assert named(text) == split


@pytest.mark.parametrize("text", ["", "walk", "1", "train2", "unused"])
def test_what_is_no_name_of_a_split_is_none(text):
    assert named(text) is None


def listed(subsets: list[str | None]) -> list[Clip]:
    return [Clip("test", f"walk/{number:02d}", "walk", subset=subset) for number, subset in enumerate(subsets)]


@given(st.lists(st.sampled_from(["train", "val", "test", None]), max_size=40), st.integers(0, 3))
def test_auto_takes_the_splits_that_are_given_and_draws_the_others_as_random_does(subsets, seed):
    clips = listed(subsets)
    auto = spec("auto", test_fraction=0.25, seed=seed)
    split_of = assign(clips, auto)
    assert {clip.key: clip.subset for clip in clips if clip.subset} == {
        clip.key: split_of[clip.key] for clip in clips if clip.subset
    }
    silent = [clip for clip in clips if clip.subset is None]
    drawn = assign(silent, spec("random", test_fraction=0.25, seed=seed))
    assert {clip.key: split_of[clip.key] for clip in silent} == drawn
    kind = {0: "random", len(clips): "official" if clips else "random"}.get(len(clips) - len(silent), "auto")
    assert settled(clips, auto).protocol == kind
    assert assign(clips, settled(clips, auto)) == split_of


def test_auto_takes_a_fold_that_is_there():
    clips = [clip("walk", "a", folds=(1, 2, 0)), clip("walk", "b", folds=(2, 1, None))]
    assert list(assign(clips, spec("auto", fold=2)).values()) == ["test", "train"]
    assert settled(clips, spec("auto", fold=3)).protocol == "auto"


def test_official_names_the_first_clip_that_has_no_split_of_its_own():
    with pytest.raises(SpecError, match=r"'walk/01' is the first of 2 that have none.*use auto, random or group"):
        assign(listed(["train", None, None]), spec("official"))


@pytest.mark.parametrize(
    ("subsets", "protocol", "told"),
    [
        (["train", "test"], "official", None),
        (["train", "test"], "auto", None),
        ([None, None], "auto", None),
        ([None, None], "random", None),
        (["train", None, None], "auto", "2 of 3 clips have no split of their own and are drawn at random"),
        (["train", None, None], "random", "1 of 3 clips is not used, since split.protocol=random draws another"),
        (["train", "val"], "group", "2 of 2 clips is not used, since split.protocol=group"),
    ],
)
def test_splits_that_are_not_simply_taken_are_spoken_of(subsets, protocol, told):
    found = remark(listed(subsets), spec(protocol))
    assert found is None if told is None else told in str(found)
