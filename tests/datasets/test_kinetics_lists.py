import csv
import io
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.acquire import registry
from araflow.core.errors import SourceError
from araflow.datasets._kinetics.lists import Listed, find_label, parse_name, read_annotations, read_parts, slug

LABELS = {name: tuple(registry.load(name).classes) for name in ("kinetics400", "kinetics600", "kinetics700_2020")}
HEADER = "label,youtube_id,time_start,time_end,split"
ids = st.text("ABYZabyz0189_-", min_size=11, max_size=11)
seconds = st.integers(0, 9_999_999)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# --- names ---


@given(ids, seconds, seconds, st.sampled_from(["", "./", "air drumming/", "a/b_000001_000002.mp4/"]))
def test_every_clip_name_reads_back(youtube_id, start, end, folder):
    name = Listed(None, youtube_id, start, end, "val").name
    assert parse_name(folder + name) == (youtube_id, start, end)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("-3B32lodo2M_000059_000069.mp4", ("-3B32lodo2M", 59, 69)),
        ("___________000000_000010.mp4", None),
        ("____________000000_000010.mp4", ("___________", 0, 10)),
        ("a_000001_02_000003_000013.mp4", ("a_000001_02", 3, 13)),  # an id that looks like times
        ("a_000001_021_000003_000013.mp4", None),  # an id of 12 characters
    ],
)
def test_an_id_may_hold_what_separates(name, expected):
    assert parse_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.mp4",
        "abcdefghijk.mp4",
        "abcdefghijk_000001_000011.avi",
        "abcdefghijk_1_11.mp4",
        "abcdefghijk_000001.mp4",
        "._abcdefghijk_000001_000011.mp4",
        "abcdefghij._000001_000011.mp4",
        "abcdefghijk_000001_000011.mp4.part",
        "abcdefghijk_000001_000011.mp4\n",
        "abcdefghijk_00000١_000011.mp4",
        "abcdefghijk_000001_000011.mp4/",
    ],
)
def test_what_is_no_clip_name_is_none(name):
    assert parse_name(name) is None


# --- labels and slugs ---


@pytest.mark.parametrize("name", LABELS)
def test_the_slugs_of_a_dataset_differ_also_where_case_is_ignored(name):
    slugs = [slug(label) for label in LABELS[name]]
    assert len({text.casefold() for text in slugs}) == len(slugs) == len(LABELS[name])
    for text in slugs:
        assert re.fullmatch(r"[A-Za-z0-9_]+", text)


def test_slugs_read_as_the_labels_do():
    assert slug("massaging person's head") == "massaging_persons_head"
    assert slug("passing American football (in game)") == "passing_American_football_in_game"
    assert slug("passing american football (not in game)") == "passing_american_football_not_in_game"


@given(st.text())
def test_a_slug_is_one_harmless_folder_name_and_its_own_slug(label):
    try:
        text = slug(label)
    except SourceError as error:
        assert repr(label) in str(error)
        return
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", text)
    assert slug(text) == text


@pytest.mark.parametrize("suffix", ["", ".tar.gz", ".tgz", ".tar"])
@pytest.mark.parametrize("name", LABELS)
def test_every_label_is_found_by_every_spelling_that_is_in_use(name, suffix):
    labels = LABELS[name]
    for label in labels:
        torchvision = label.replace(" ", "_").replace("'", "").replace("(", "").replace(")", "")
        mmaction2 = label.replace('"', "").replace(" ", "_")
        for spelling in (label, slug(label), torchvision, mmaction2, label.upper(), slug(label).lower(), quote(label)):
            assert find_label(spelling + suffix, labels) == label


@pytest.mark.parametrize("text", ["", "train", "part_0", "k700_train_001.tar.gz", "abseilin", "_", "air", "."])
@pytest.mark.parametrize("name", LABELS)
def test_what_names_no_label_is_none(name, text):
    assert find_label(text, LABELS[name]) is None


def test_a_spelling_of_two_labels_is_none_but_an_exact_one_counts():
    assert find_label("SKIING", ["Skiing", "skiing"]) is None
    assert find_label("skiing", ["Skiing", "skiing"]) == "skiing"
    assert find_label("ski_jump", ["ski (jump)", "ski jump"]) is None


# --- annotation lists ---


def table(rows: list[list[object]], header: str = HEADER, quoting: int = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows([header.split(","), *rows])
    return text.getvalue()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", LABELS)
def test_every_label_reads_back_from_a_table(tmp_path, name, quoting, newline, encoding):
    rows = [[label, f"{n:011d}", n, n + 10, "train"] for n, label in enumerate(LABELS[name])]
    path = write(tmp_path / "train.csv", table(rows, quoting=quoting).replace("\n", newline), encoding)
    listed = read_annotations(path, "train")
    assert [(clip.label, clip.youtube_id, clip.start, clip.end) for clip in listed] == [tuple(row[:4]) for row in rows]
    assert {(clip.subset, clip.creative_commons) for clip in listed} == {("train", None)}


def test_a_table_as_kinetics400_has_it(tmp_path):
    text = (
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        '"air drumming",-3B32lodo2M,59,69,val,0\nabseiling,____________x,5,15,val,1\n'.replace(
            "____________x", "_" * 11
        )
    )
    assert read_annotations(write(tmp_path / "val.csv", text), "val") == [
        Listed("air drumming", "-3B32lodo2M", 59, 69, "val", False),
        Listed("abseiling", "_" * 11, 5, 15, "val", True),
    ]


def test_columns_are_found_by_their_names_and_a_test_list_has_no_labels(tmp_path):
    text = "Split, time_end ,time_start,youtube_id\ntest,27,17.0,--6bJUbfpnQ\n\ntest,12.0,2,--8YXc8iCt8\n"
    assert read_annotations(write(tmp_path / "test.csv", text), "test") == [
        Listed(None, "--6bJUbfpnQ", 17, 27, "test"),
        Listed(None, "--8YXc8iCt8", 2, 12, "test"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{stem}",
        "{stem}.mp4",
        "{label}/{stem}.mp4",
        "{label}/{stem}",
        "./train/{label}/{stem}.mp4",
        "train/{stem}.mp4 {label}",
        "{stem}.mp4,{label}",
        '{stem}.mp4, "{label}"',
        "{stem}\t{label}",
        "{slug}/{stem}.mp4",
        "{slug}/{stem}.mp4 {label}",
        "{slug}/{stem}.mkv 17",
        "train/{slug}/{stem} 250 17",
    ],
)
def test_a_line_with_a_clip_name_gives_clip_and_label(tmp_path, line):
    expected = []
    lines = []
    for n, label in enumerate(LABELS["kinetics600"]):
        stem = f"-_{n:09d}_{n:06d}_{n + 10:06d}"
        lines.append(line.format(stem=stem, label=label, slug=slug(label)))
        found = label if "{label}" in line else slug(label) if "{slug}" in line else None
        expected.append(Listed(found, f"-_{n:09d}", n, n + 10, "train"))
    path = write(tmp_path / "train.txt", "\ufeff" + "\r\n".join([*lines, "", ""]))
    listed = read_annotations(path, "train")
    assert listed == expected
    if expected[0].label:
        assert [find_label(clip.label, LABELS["kinetics600"]) for clip in listed] == list(LABELS["kinetics600"])


@pytest.mark.parametrize(
    "line",
    [
        "<html><body>Moved</body></html>",
        "abseiling",
        "abcdefghijk",
        "abseiling,abcdefghijk,10,20,train",
        "abcdefghijk_000001_000011.mp4 17",  # a number: of which list?
        "abcdefghijk_000001_000011.mp4 abcdefghijk_000002_000012.mp4",
        "abseiling abcdefghijk_000001_000011.mp4",
        "abseiling/abcdefghijk_000001_000011.mp4 zumba",
        "abcdefghijk_000001_000011.doc",
        "xabcdefghijk_000001_000011.mp4",
    ],
)
def test_any_other_line_is_an_error_with_file_line_and_text(tmp_path, line):
    path = write(tmp_path / "train.txt", f"abseiling/-bcdefghijk_000001_000011.mp4\n\n{line}\n")
    with pytest.raises(SourceError) as caught:
        read_annotations(path, "train")
    assert str(caught.value).startswith(f"{path}:3: ")
    assert repr(line) in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("abseiling,tooshort,10,20,val", "youtube_id 'tooshort' is not 11 characters"),
        ("abseiling,#NAME?,10,20,val", "youtube_id '#NAME?' is not"),
        ("abseiling,abcdefghij/,10,20,val", "youtube_id 'abcdefghij/' is not"),
        ("abseiling,abcdefghijk,10.5,20,val", "time_start is '10.5'; expected whole seconds"),
        ("abseiling,abcdefghijk,-1,20,val", "time_start is '-1'"),
        ("abseiling,abcdefghijk,10,,val", "time_end is ''"),
        ("abseiling,abcdefghijk,20,10,val", "ends at 10 s, but begins at 20 s"),
        ("abseiling,abcdefghijk,10,20", "4 fields, but the header has 5"),
        ("a,b,abcdefghijk,10,20,val", "6 fields, but the header has 5"),
        ('"abseiling"x,abcdefghijk,10,20,val', "not readable as CSV"),
    ],
)
def test_a_row_that_is_wrong_is_an_error_with_file_and_line(tmp_path, row, message):
    path = write(tmp_path / "val.csv", f"{HEADER}\nzumba,zbcdefghijk,1,11,val\n{row}\n")
    with pytest.raises(SourceError) as caught:
        read_annotations(path, "val")
    assert str(caught.value).startswith(f"{path}:3: ")
    assert message in str(caught.value)


def test_a_licence_that_is_neither_yes_nor_no_is_an_error(tmp_path):
    path = write(tmp_path / "val.csv", f"{HEADER},is_cc\nzumba,zbcdefghijk,1,11,val,maybe\n")
    with pytest.raises(SourceError, match=r"val\.csv:2: is_cc is 'maybe'; expected 0 or 1"):
        read_annotations(path, "val")


def test_a_header_that_lacks_a_column_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path / "val.csv", "label,youtube_id,start,end\nzumba,zbcdefghijk,1,11\n")
    with pytest.raises(SourceError, match=r"val\.csv:1: the header lacks time_start, time_end"):
        read_annotations(path, "val")


@pytest.mark.parametrize("text", ["", "\n \n", HEADER + "\n"])
def test_a_list_without_clips_is_an_error(tmp_path, text):
    with pytest.raises(SourceError, match=r"val\.csv: lists no clips"):
        read_annotations(write(tmp_path / "val.csv", text), "val")


def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SourceError, match=r"none\.csv: No such file"):
        read_annotations(tmp_path / "none.csv", "val")
    (tmp_path / "val.csv").write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(SourceError, match=r"val\.csv: not a list of Kinetics"):
        read_annotations(tmp_path / "val.csv", "val")


def test_a_clip_listed_twice_is_taken_once_and_two_labels_are_an_error(tmp_path):
    rows = [["zumba", "abcdefghijk", 1, 11, "val"], ["zumba", "abcdefghijk", 1, 11, "val"]]
    assert len(read_annotations(write(tmp_path / "val.csv", table(rows)), "val")) == 1
    rows.append(["zumba", "abcdefghijk", 2, 12, "val"])  # another part of the same video
    assert len(read_annotations(write(tmp_path / "val.csv", table(rows)), "val")) == 2
    rows.append(["yoga", "abcdefghijk", 1, 11, "val"])
    with pytest.raises(
        SourceError, match=r"val\.csv:5: abcdefghijk_000001_000011\.mp4 has .*'yoga', but 'zumba' in li"
    ):
        read_annotations(write(tmp_path / "val.csv", table(rows)), "val")


def test_a_label_that_one_of_two_rows_gives_is_kept(tmp_path):
    rows = [["", "abcdefghijk", 1, 11, "val"], ["yoga", "abcdefghijk", 1, 11, "val"], ["", "abcdefghijk", 1, 11, "val"]]
    (clip,) = read_annotations(write(tmp_path / "val.csv", table(rows)), "val")
    assert clip.label == "yoga"


# --- path lists ---

BASE = "https://s3.amazonaws.com/kinetics"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{BASE}/400/train/part_0.tar.gz", f"{BASE}/400/train/part_0.tar.gz"),
        (f"{BASE}/600/val/air drumming.tar.gz", f"{BASE}/600/val/air%20drumming.tar.gz"),
        (f"{BASE}/600/val/hurling (sport).tar.gz", f"{BASE}/600/val/hurling%20%28sport%29.tar.gz"),
        (f"{BASE}/600/val/massaging person's head.tar.gz", f"{BASE}/600/val/massaging%20person's%20head.tar.gz"),
        (f"{BASE}/600/val/air%20drumming.tar.gz", f"{BASE}/600/val/air%20drumming.tar.gz"),
        (f"  {BASE}/x.tar.gz?versionId=1#top \r", f"{BASE}/x.tar.gz?versionId=1"),
        ("http://127.0.0.1:8000/ü.tar.gz", "http://127.0.0.1:8000/%C3%BC.tar.gz"),
    ],
)
def test_an_address_is_encoded_once(tmp_path, line, expected):
    assert read_parts(write(tmp_path / "path.txt", f"\n{line}\n\n{line}\n")) == [expected]
    assert read_parts(write(tmp_path / "path.txt", expected)) == [expected]


@pytest.mark.parametrize("name", ["kinetics600", "kinetics700_2020"])
def test_every_class_archive_gives_its_label_back(tmp_path, name):
    lines = "\n".join(f"{BASE}/600/train/{label}.tar.gz" for label in LABELS[name])
    parts = read_parts(write(tmp_path / "path.txt", lines))
    for part in parts:
        assert re.fullmatch(r"[A-Za-z0-9:/._%'-]+", part)
    assert [find_label(registry.file_name(part), LABELS[name]) for part in parts] == list(LABELS[name])


@pytest.mark.parametrize(
    "line",
    [
        "<html>",
        "part_0.tar.gz",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://x/y.tar.gz",
        "https://",
        "https:///y",
        "s3://k/y",
        "https://[::1/x",
        "https://a b/x",
    ],
)
def test_a_line_that_is_no_web_address_is_refused_with_file_and_line(tmp_path, line):
    path = write(tmp_path / "path.txt", f"{BASE}/a.tar.gz\n{line}\n")
    with pytest.raises(SourceError) as caught:
        read_parts(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert repr(line) in str(caught.value)


def test_a_path_list_without_addresses_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"path\.txt: names no archive"):
        read_parts(write(tmp_path / "path.txt", "\n\n"))


def test_the_real_clip_of_kinetics_has_a_label_of_kinetics400(real_data):
    (name,) = (path.stem for path in (real_data / "clips").glob("*_k400.mp4"))
    assert find_label(name.removesuffix("_k400"), LABELS["kinetics400"]) == "abseiling"
