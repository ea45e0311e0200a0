"""Only what a proof of araflow's lists is replaced or removed, wherever an output lies; no link is followed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_world import KEY, bad, fill, make, record

from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.store import ownership
from araflow.store.address import open_store
from araflow.store.layout import is_whole, own_names
from araflow.store.store import Store

CLIP = f"clips/{KEY}"
THEIRS = {f"{CLIP}/{name}": name.encode() for name in ("rgb/0000.png", "u/0000.jpg", "v/0000.jpg", "annotations.json")}


@pytest.fixture(params=["folder", "memory"])
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Store]:
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        pytest.importorskip("upath", reason="needs universal-pathlib: pip install 'araflow[s3]'")
    out = tmp_path / "out" if request.param == "folder" else f"memory://ownership{tmp_path}/out"
    with open_store(out).session() as bound:
        yield bound


def plant(store: Store, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        store.place.replace(name, content)


def found(store: Store) -> dict[str, bytes | None]:
    return {f"clips/{name}": store.place.read(f"clips/{name}") for name in store.place.sizes("clips")}


def test_frames_of_the_users_own_are_neither_replaced_nor_removed(store: Store):
    plant(store, THEIRS)
    with pytest.raises(OutputError, match="not what araflow made, so it stays as it is"):
        make(store, record())
    store.write_record(bad())
    store.remove_clip(KEY)
    assert found(store) == THEIRS
    assert ownership.holds_unknown(store.place, KEY)
    assert not ownership.holds_unknown(store.place, "walk/other")


def test_frames_of_other_names_get_none_beside_them(store: Store):
    theirs = {f"{CLIP}/rgb/img_1.png": b"mine"}
    plant(store, theirs)
    with pytest.raises(OutputError, match="not what araflow made"):
        make(store, record())
    assert found(store) == theirs


def test_what_is_no_frame_stays_beside_a_new_clip(store: Store):
    plant(store, notes := {f"{CLIP}/notes.txt": b"mine", f"{CLIP}/mask/0000.png": b"mine"})
    make(store, record())
    assert store.find(KEY) == record()
    store.remove_clip(KEY)
    assert found(store) == notes


def test_files_among_the_frames_stay_and_the_clip_counts(store: Store):
    make(store, record())
    plant(store, extra := {f"{CLIP}/rgb/notes.txt": b"", f"{CLIP}/rgb/zzz.png": b"mine", f"{CLIP}/v/0002.jpg": b"mine"})
    assert store.find(KEY) == record()
    for keep_rgb in (False, True):
        make(store, changed := record(fingerprint=f"keeping {keep_rgb}"), keep_rgb=keep_rgb)
        assert store.find(KEY) == changed
        assert found(store).items() >= extra.items()
    store.write_record(bad())
    assert found(store) == extra


def test_a_clip_that_grows_takes_no_name_that_is_taken(store: Store):
    make(store, record())
    plant(store, extra := {f"{CLIP}/u/0001.jpg.txt": b"mine", f"{CLIP}/rgb/0003.png": b"mine"})
    draft = store.begin()
    grown = record(fingerprint="second", frames=4)
    fill(draft, grown)
    draft.write("rgb", "0003.png", b"frame 3")
    before = found(store)
    with pytest.raises(OutputError, match=r"rgb/0003\.png: not what araflow made"):
        store.commit(draft, grown, keep_rgb=False)
    assert found(store) == before
    assert before.items() >= extra.items()


def test_a_clip_whose_proof_alone_is_lost_is_known_by_its_row(store: Store):
    make(store, record())
    store.place.remove([f"{CLIP}/{PROOF}"])
    assert ownership.holds_unknown(store.place, KEY)
    assert not ownership.adopt(store.place, KEY, record(frames=4, flows=3))
    assert ownership.holds_unknown(store.place, KEY)
    assert ownership.adopt(store.place, KEY, record())
    assert not ownership.holds_unknown(store.place, KEY)
    make(store, record(fingerprint="second"))
    assert store.find(KEY) == record(fingerprint="second")
    assert not store.place.exists(".araflow/placing")


def test_a_class_that_was_renamed_is_made_anew(store: Store):
    make(store, record("old/one"))
    for name in store.place.sizes("clips/old/one"):
        plant(store, {f"clips/new/one/{name}": store.place.read(f"clips/old/one/{name}") or b""})
    assert store.find("new/one") is None
    assert not ownership.holds_unknown(store.place, "new/one")
    make(store, record("new/one", "second"))
    assert store.find("new/one") == record("new/one", "second")


def test_a_list_that_was_left_names_nothing_of_another_folder(store: Store):
    plant(store, THEIRS | {"clips/other": b"mine"})
    for content in (b"[" * 100_000, b"[1]", b'{"names": 1}', b'{"key": "../x", "names": ["../../other", "/other", 3]}'):
        store.place.replace(ownership._file(KEY), content)
        with pytest.raises(OutputError):
            make(store, record())
        store.remove_clip(KEY)
        ownership.settle(store.place)
    assert found(store) == THEIRS | {"clips/other": b"mine"}


@pytest.mark.parametrize("rule", ["card", "recipe"])
def test_the_names_are_those_of_one_rule(rule: str):
    names = {"card": ("0000", "0001", "0002"), "recipe": ("000001", "000002", "000003")}
    there = {f"rgb/{one}.png" for one in names[rule]}
    there |= {f"{kind}/{one}.jpg" for one in names[rule][:2] for kind in "uv"}
    other = {f"rgb/{one}.png" for one in names["card" if rule == "recipe" else "recipe"][:2]}
    strays = {"rgb/0003.png", "rgb/00000.png", "rgb/0000.jpg", "u/0002.jpg", "rgb/٠٠٠٠.png", f"rgb/{'9' * 5000}.png"}
    assert own_names(record(), there | other | strays) == there
    huge = record(frames=2**40, flows=2**40 - 1)
    assert own_names(huge, there) == set()
    assert not is_whole(dict.fromkeys(there, 1), huge)


# --- links, which only folders have ---


LINKS = ("clips", "clips/walk", CLIP, f"{CLIP}/rgb", f"{CLIP}/rgb/0001.png", f"{CLIP}/{PROOF}")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("what", ["make", "remove", "record"])
def test_no_link_is_followed_or_replaced(tmp_path: Path, link: str, what: str):
    with open_store(tmp_path / "out").session() as store:
        make(store, record())
        inside, outside = store.out / link, tmp_path / "behind"
        inside.rename(outside)
        inside.symlink_to(outside)
        before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
        calls = {
            "make": lambda: make(store, record(fingerprint="second")),
            "remove": lambda: store.remove_clip(KEY),
            "record": lambda: store.write_record(bad()),
        }
        try:
            calls[what]()
        except OutputError as error:
            assert "link" in str(error) or "not what araflow made" in str(error)
        assert {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()} == before
        assert inside.is_symlink()


@pytest.mark.parametrize("name", ["records", "placing", "ranges", "records/x.json", "build.json"])
def test_state_is_not_written_through_links(tmp_path: Path, name: str):
    store, outside = open_store(tmp_path / "out"), tmp_path / "behind"
    outside.mkdir()
    (outside / "x.json").write_bytes(b"precious")
    (store.state / name).parent.mkdir(parents=True)
    (store.state / name).symlink_to(outside / "x.json" if name.endswith("json") else outside)
    target = name if name.endswith("json") else f"{name}/x.json"
    for change in (lambda: store.write_state(target, b"new"), lambda: store.remove_state(target)):
        with pytest.raises(OutputError, match="is a link"):
            change()
    assert (outside / "x.json").read_bytes() == b"precious"
    assert os.path.lexists(store.state / name)
