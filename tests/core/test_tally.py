"""Counts by class, with the sum apart."""

from araflow.core.tally import ALL, NO_CLASS, Tally, table


def test_classes_have_the_order_of_labels_then_names_then_none():
    counts = {("run", "n"): 1, (None, "n"): 2, ("b", "n"): 3, ("a", "n"): 4}
    found = Tally.of(counts, ("n", "m"), ("walk", "run"))
    assert [row["class"] for row in found.classes] == ["walk", "run", "a", "b", NO_CLASS]
    assert found.classes[0] == {"class": "walk", "n": 0, "m": 0}
    assert found.total == {"n": 10, "m": 0}


def test_a_class_may_have_the_name_of_what_is_no_class():
    counts = {(name, "n"): 1 for name in ("all", ALL, NO_CLASS, None)}
    found = Tally.of(counts, ("n",))
    assert [row["class"] for row in found.classes] == [ALL, NO_CLASS, "all", NO_CLASS]
    assert {row["n"] for row in found.classes} == {1}
    assert found.total == {"n": 4}


def test_nothing_counted_is_nothing_in_all():
    assert Tally.of({}, ("n",)) == Tally([], {"n": 0})


def test_people_see_the_sum_last():
    shown = table(Tally.of({("all", "n"): 2, ("walk", "n"): 3}, ("n",)).classes, {"n": 5}, "data").text()
    assert shown.splitlines() == ["data", "class  n", "all    2", "walk   3", "(all)  5"]
