"""State that cannot be read is not absent: nothing is deleted or overwritten on the strength of it."""

import json
import shutil
from pathlib import Path

import kinetics_world as worlds
import pytest
import unreadable
from click.testing import CliRunner, Result
from kinetics_world import World

from araflow.acquire.folder import DatasetFolder
from araflow.cli import main
from araflow.core.errors import SourceError
from araflow.datasets._kinetics import youtube
from araflow.datasets._kinetics.route import ANSWERS_FILE, Route
from araflow.datasets._kinetics.youtube import Answer, Status

GIVEN = ("abseiling", worlds.name(0, "9Z"))
ways = pytest.mark.parametrize("damage", unreadable.WAYS, ids=lambda way: way.__name__)


@pytest.fixture
def world(web, tmp_path, monkeypatch) -> World:
    made = World(web, tmp_path, monkeypatch)
    made.serve_true()
    return made


def fetch(world: World, *options: str) -> Result:
    return CliRunner().invoke(main, ["fetch", "kinetics400", "--to", str(world.data), "--accept-licence", *options])


@pytest.fixture
def given(world: World, tmp_path: Path) -> World:
    """A dataset's folder with videos that the user gave; requests so far are forgotten."""
    mine = tmp_path / "mine" / "part_0.tar.gz"
    mine.parent.mkdir()
    mine.write_bytes(world.web.files["/400/train/part_0.tar.gz"])
    assert fetch(world, "--from", str(mine)).exit_code == 3
    assert world.videos()
    world.requests()
    return world


def parts(world: World) -> Path:
    return world.data / ".araflow" / "parts"


def unchanged(world: World, state: Path, damage, run) -> str:
    """Damage a file of the state, run, and return what was said; neither it nor a video may have changed."""
    damage(state)
    before, videos = unreadable.content(state), worlds.tree(world.data / "videos")
    try:
        result = run()
        said = result.output if isinstance(result, Result) else ""
        assert not isinstance(result, Result) or result.exit_code == 1, result.output
    except SourceError as error:
        said = str(error)
    after = worlds.tree(world.data / "videos")
    assert {path: after.get(path) for path in videos} == videos
    assert unreadable.content(state) == before
    assert str(state) in said.replace("\n", "")
    return said


@ways
def test_videos_that_the_user_gave_outlive_a_note_of_them_that_cannot_be_read(given, damage):
    unchanged(given, parts(given) / "given.json", damage, given.build)


@ways
def test_more_given_videos_do_not_replace_a_note_of_them_that_cannot_be_read(given, damage, tmp_path):
    more = tmp_path / "mine" / "part_1.tar.gz"
    more.write_bytes(given.web.files["/400/train/part_1.tar.gz"])
    unchanged(given, parts(given) / "given.json", damage, lambda: fetch(given, "--from", str(more)))


@pytest.mark.parametrize(
    "damage", [unreadable.folder, unreadable.circle, unreadable.elsewhere], ids=lambda d: d.__name__
)
def test_the_record_of_a_part_that_the_disk_does_not_give_is_an_error_and_nothing_is_fetched(world, damage):
    assert fetch(world).exit_code == 3
    records = sorted(parts(world).glob("*.json"))
    assert records
    world.requests()
    for record in records:
        kept = record.read_bytes()
        unchanged(world, record, damage, world.build)
        assert world.parts_asked() == []
        shutil.rmtree(record) if record.is_dir() and not record.is_symlink() else record.unlink()
        record.write_bytes(kept)


@pytest.mark.parametrize("wrong", [{"names": "abc"}, {"names": [1]}, {"kept": "a"}, {"kept": None}, {"archive": "yes"}])
def test_a_record_of_another_type_costs_another_look_and_no_video(world, wrong, caplog):
    assert fetch(world).exit_code == 3
    videos = worlds.tree(world.data / "videos")
    for record in parts(world).glob("*.json"):
        record.write_text(json.dumps(json.loads(record.read_text()) | wrong))
    world.build()
    assert worlds.tree(world.data / "videos") == videos
    assert "cannot be read" in caplog.text
    assert all(json.loads(record.read_text())["kept"] for record in parts(world).glob("*.json"))


@pytest.mark.parametrize("wrong", [{"clips": "abc"}, {"clips": None}, {"clips": [1]}, {"replacements": {}}])
def test_a_note_of_another_type_of_what_was_given_is_an_error_too(given, wrong):
    state = parts(given) / "given.json"
    changed = json.dumps(json.loads(state.read_text()) | wrong)
    unchanged(given, state, lambda path: path.write_text(changed), given.build)


@pytest.mark.parametrize("left", [(), ("clips",), ("replacements",), ("another",)])
def test_a_note_of_what_was_given_that_lacks_something_is_an_error_too(given, left):
    state = parts(given) / "given.json"
    known = json.loads(state.read_text())
    changed = json.dumps({key: known.get(key, []) for key in left})
    unchanged(given, state, lambda path: path.write_text(changed), given.build)


@pytest.mark.parametrize("level", [".araflow", ".araflow/parts"])
def test_notes_on_a_disk_that_is_not_there_now_are_not_absent(given, tmp_path, level):
    (given.data / level).rename(tmp_path / "elsewhere")
    (given.data / level).symlink_to(tmp_path / "unmounted")
    videos = worlds.tree(given.data / "videos")
    with pytest.raises(SourceError, match="leads to where nothing is now"):
        given.build()
    assert worlds.tree(given.data / "videos") == videos
    (given.data / level).unlink()
    (tmp_path / "elsewhere").rename(given.data / level)
    given.build()
    assert set(videos) <= set(worlds.tree(given.data / "videos"))


@pytest.mark.parametrize("name", ["record", "given.json"])
def test_what_a_later_version_writes_into_a_note_besides_is_kept(given, name, tmp_path):
    if name == "record":
        fetch(given, "--split", "val")
        state = next(path for path in sorted(parts(given).glob("val*.json")))
        again = ("--split", "val", "--keep-archives")
    else:
        state, again = parts(given) / "given.json", ("--from", str(tmp_path / "mine" / "part_0.tar.gz"))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"later": [1]}))
    assert fetch(given, *again).exit_code in (0, 3)
    assert json.loads(state.read_text())["later"] == [1]


@ways
def test_statuses_that_cannot_be_read_are_not_replaced_by_those_of_one_class(world, damage):
    assert fetch(world).exit_code == 3
    state = world.data / "clips.csv"
    if damage is not unreadable.cut:
        unchanged(world, state, damage, lambda: fetch(world, "--only", "abseiling"))
        return
    damage(state)  # what is left are whole rows, and one that is not
    rows = state.read_text().splitlines()[:-1]
    assert fetch(world, "--only", "abseiling").exit_code in (0, 3)
    assert set(rows) <= set(state.read_text().splitlines())


def test_rows_of_statuses_that_are_not_understood_are_kept(world):
    assert fetch(world).exit_code == 3
    state = world.data / "clips.csv"
    rows = state.read_text().splitlines()
    state.write_text("\n".join([*rows, "somebody's,row", "and,one,of,six,fields,here", ""]))
    assert fetch(world, "--only", "abseiling").exit_code in (0, 3)
    assert set(rows) | {"somebody's,row", "and,one,of,six,fields,here"} == set(state.read_text().splitlines())


@pytest.mark.parametrize("name", ["train.csv", "train_parts.txt"])
@pytest.mark.parametrize("damage", [unreadable.folder, unreadable.circle], ids=lambda way: way.__name__)
def test_a_list_that_cannot_be_read_stays_with_its_receipt(world, name, damage):
    assert fetch(world).exit_code == 3
    state = world.data / "lists" / name
    receipt = state.with_name(f"{name}.fetched.json")
    before = receipt.read_bytes()
    unchanged(world, state, damage, world.build)
    assert receipt.read_bytes() == before


def test_a_list_that_a_server_has_changed_is_refused_by_every_run(world):
    assert fetch(world).exit_code == 3
    (world.data / "lists" / "train.csv").unlink()
    world.web.files["/400/annotations/train.csv"] += b"abseiling,abcdefghijk,1,11,train,0\r\n"
    for _ in range(2):
        result = fetch(world)
        assert "of an earlier download; delete that file to accept another one" in result.output.replace("\n", " ")


@pytest.mark.parametrize("name", ["train.csv", "train_parts.txt"])
def test_a_list_of_the_users_own_that_is_none_is_named_and_stays(world, name):
    state = world.data / "lists" / name
    state.parent.mkdir(parents=True)
    state.write_text("my notes\n")
    unchanged(world, state, lambda path: None, world.build)
    assert world.parts_asked() == []


# --- the answers of YouTube ---


@pytest.fixture
def route(tmp_path, monkeypatch) -> Route:
    monkeypatch.setattr(youtube, "fetch_clip", lambda *_, **__: Answer(Status.REMOVED, 'gone, "really"'))
    made = Route(DatasetFolder(tmp_path / "data", None))
    made.fetch([f"abseiling/{worlds.name(n)}" for n in range(3)], str)
    return Route(made.folder)


@ways
def test_answers_that_cannot_be_read_are_not_replaced(route, damage):
    state = route.folder.path / ANSWERS_FILE
    damage(state)
    before = unreadable.content(state)
    if damage is unreadable.cut:  # what is left are whole rows, and one that is not
        route.fetch([], str)
        assert state.read_bytes().startswith(before.rpartition(b"\n")[0])
        return
    with pytest.raises(SourceError, match=ANSWERS_FILE):
        route.fetch([f"abseiling/{worlds.name(9)}"], str)
    assert unreadable.content(state) == before


@pytest.mark.parametrize(
    "row",
    [
        "abcdefghijk,1,11,embargoed,a status of a later version",
        "abcdefghijk,one,11,removed,gone",
        "abcdefghijk,1,11,removed,a comma, without quotes",
        "abcdefghijk,1",
        '"a note, of two\nlines"',
        ",,,,",
        "abcdefghijk,1,11,REMOVED,gone",
    ],
)
@pytest.mark.parametrize("where", [1, 2, 4])
def test_a_row_of_answers_that_is_not_understood_costs_no_other_and_is_kept(route, row, where, caplog, monkeypatch):
    state = route.folder.path / ANSWERS_FILE
    lines = state.read_text().splitlines()
    state.write_text("\n".join([*lines[:where], row, *lines[where:], ""]))
    asked = []

    def one(youtube_id, *_, **__):
        asked.append(youtube_id)
        return Answer(Status.REMOVED, "new")

    monkeypatch.setattr(youtube, "fetch_clip", one)
    answers = route.fetch([f"abseiling/{worlds.name(n)}" for n in range(4)], str)
    assert asked == [worlds.name(3)[:11]]
    assert [answer.detail for answer in answers.values()] == ['gone, "really"'] * 3 + ["new"]
    text = state.read_text()
    assert row in text
    assert all(line in text for line in lines)
    assert ANSWERS_FILE in caplog.text
    Route(route.folder).fetch([], str)
    assert state.read_text() == text


@pytest.mark.parametrize(
    "header", ["youtube_id,start,end,status", "id;start;end;status;detail", "youtube_id,start,end,status,detail,when"]
)
def test_answers_in_other_columns_are_refused_by_name(route, header):
    state = route.folder.path / ANSWERS_FILE
    state.write_text("\n".join([header, *state.read_text().splitlines()[1:], ""]))
    before = state.read_bytes()
    with pytest.raises(SourceError, match=rf"{ANSWERS_FILE}.*youtube_id,start,end,status,detail"):
        route.fetch([], str)
    assert state.read_bytes() == before


def test_answers_that_a_spreadsheet_has_saved_are_read(route, monkeypatch):
    state = route.folder.path / ANSWERS_FILE
    before = state.read_bytes()
    state.write_bytes(b"\xef\xbb\xbf" + before.replace(b"\n", b"\r\n"))
    monkeypatch.setattr(youtube, "fetch_clip", None)
    route.fetch([f"abseiling/{worlds.name(0)}"], str)
    assert state.read_bytes() == before
