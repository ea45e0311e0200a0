import math

import pytest

from araflow.core.leakage import NO_GROUPS, Leakage, LeakageReport, Seen, leakage


def test_leakage_counts_same_class_and_any_class_and_what_nobody_knows():
    rows = [
        Seen("walk", "film", "train"),
        Seen("walk", "film", "test"),
        Seen("run", "film", "test"),
        Seen("run", "other", "test"),
        Seen("run", "other", "val"),  # only training counts
        Seen("walk", None, "train"),
        Seen("walk", None, "test"),
        Seen("walk", "film", "unused"),
        Seen(None, "film", "test"),
    ]
    found = leakage(rows)
    assert list(found.by_class.items()) == [
        (None, Leakage(1, 0, 1)),
        ("run", Leakage(2, 0, 1)),
        ("walk", Leakage(2, 1, 1, 1)),
    ]
    assert found.total == Leakage(5, 1, 3, 1)
    assert leakage(iter(rows)) == found
    assert leakage([]) == LeakageReport({}, Leakage(0, 0, 0))


def test_a_class_named_all_is_a_class_and_no_total():
    found = leakage([Seen("all", "film", "train"), Seen("all", "film", "test"), Seen("walk", "other", "test")])
    assert found.by_class == {"all": Leakage(1, 1, 1), "walk": Leakage(1, 0, 0)}
    assert found.total == Leakage(2, 1, 1)


def test_where_no_clip_has_a_group_leakage_is_unknown():
    rows = [Seen("walk", None, "train"), Seen("walk", None, "test"), Seen("run", None, "test")]
    assert leakage(rows).total == Leakage(2, None, None, 2)
    assert leakage([Seen("walk", None, "train"), Seen("walk", "film", "test")]).total == Leakage(1, None, None, 1)
    assert leakage([Seen("walk", None, "test")]).total == Leakage(1, 0, 0), "nothing was trained on"
    assert leakage([Seen("walk", None, "train")]).total == Leakage(0, 0, 0), "nothing is tested"


def test_the_same_bytes_leak_whatever_their_groups():
    rows = [
        Seen("walk", None, "train", "a"),
        Seen("walk", None, "test", "a"),
        Seen("run", "film", "test", "a"),
        Seen("run", None, "test", "b"),
        Seen("run", None, "test"),
    ]
    assert leakage(rows).by_class == {"walk": Leakage(1, 1, 1), "run": Leakage(3, 0, 1, 2)}
    assert leakage(rows).total == Leakage(4, 1, 2, 2)


@pytest.mark.parametrize(
    ("found", "told", "share"),
    [
        (Leakage(21, 2, 2), "2 of 21", 2 / 21),
        (Leakage(21, 2, 2, 6), "2 of 15 with known source; 6 unknown", 2 / 15),
        (Leakage(21, None, None, 21), NO_GROUPS, math.nan),
        (Leakage(0, 0, 0), "0 of 0", math.nan),
    ],
)
def test_what_leaked_is_said_with_what_is_not_known(found, told, share):
    assert found.told(found.same_class) == told
    assert found.share(found.same_class) == pytest.approx(share, nan_ok=True)
