import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.spelling import Names, Paths, composed, folded, natural

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        ([NFD], NFC, NFD),
        ([NFC], NFD, NFC),
        ([NFC, NFD], NFD, NFD),
        (["a.mp4"], "A.MP4", "a.mp4"),
        (["A.mp4", "a.MP4"], "a.mp4", None),  # nobody knows which
        (["A.mp4", "a.MP4"], "A.mp4", "A.mp4"),
        ([NFD.upper()], NFC, NFD.upper()),
        ([NFC, NFC.upper()], NFD, NFC),  # a form is nearer than a case
        (["a"], "b", None),
        ([], "a", None),
    ],
)
def test_a_name_is_found_if_it_is_the_only_one_that_can_be_meant(there, wanted, found):
    assert Names(there).find(wanted) == found


def test_a_path_is_found_however_its_folders_are_spelled(tmp_path):
    for name in (f"{NFD}/Walk/a.mp4", f"{NFD}/run/b.mp4", f"{NFD}/Run/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    paths = Paths()
    assert paths.find(tmp_path / NFC / "walk" / "A.MP4") == tmp_path / NFD / "Walk" / "a.mp4"
    assert paths.find(tmp_path / NFC / "run" / "b.mp4") == tmp_path / NFD / "run" / "b.mp4"
    assert paths.find(tmp_path / NFC / "RUN" / "b.mp4") is None
    assert paths.find(tmp_path / NFC / "Walk" / "a.mp4" / "c") is None
    assert paths.find(tmp_path / "gone.mp4") == tmp_path / "gone.mp4"
    assert paths.find(tmp_path / NFC / "walk" / "c.mp4") is None


@given(st.text(max_size=8))
def test_what_looks_the_same_folds_the_same(text):
    assert folded(composed(text)) == folded(text) == folded(unicodedata.normalize("NFD", text))
    assert folded(folded(text)) == folded(text)


@given(st.permutations([str(number) for number in range(12)]))
def test_numbers_are_in_the_order_of_their_values(labels):
    assert sorted(labels, key=natural) == [str(number) for number in range(12)]


@pytest.mark.parametrize(
    "ordered",
    [
        ["class2", "class10", "class10b", "class11"],
        ["01", "1", "2", "9" * 5000, "1" + "0" * 5000],
        ["", "0", "a", "a1", "a1b2", "a1b10", "b"],
        ["-1", "-2", "٣"],  # no numbers but those of ASCII, and no signs
    ],
)
def test_numbers_within_names_count_by_value(ordered):
    backwards = ordered[::-1]
    backwards.sort(key=natural)
    assert backwards == ordered


@given(st.lists(st.text(st.characters(exclude_characters="0123456789"), max_size=6)))
def test_names_without_numbers_stay_in_the_order_of_text(labels):
    assert sorted(labels, key=natural) == sorted(labels)
