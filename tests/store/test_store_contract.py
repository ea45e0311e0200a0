"""What an output promises, wherever it lies: the same tests over a folder, fsspec's memory and the S3 test server."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_world import KEY, bad, fill, make, record

from araflow.core.clip import Outcome
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.store import checks, lease, listing
from araflow.store.address import open_store
from araflow.store.layout import KINDS, MANIFEST
from araflow.store.store import Store

CLIP = f"clips/{KEY}"
FRAMES = [f"rgb/000{n}.png" for n in range(3)] + [f"{kind}/000{n}.jpg" for kind in "uv" for n in range(2)]
BATCH = 1000
"""Things to ask for: more than are asked for at once."""


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.slow])])
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    """An empty output that nobody holds."""
    monkeypatch.setattr(lease, "_SECONDS_TO_SETTLE", 0.0)
    if request.param == "folder":
        return open_store(tmp_path / "out")
    pytest.importorskip("upath", reason="needs universal-pathlib: pip install 'araflow[s3]'")
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        return open_store(f"memory://contract{tmp_path}/out")
    return open_store(f"s3://{request.getfixturevalue('bucket').name}/an out")


@pytest.fixture
def store(output: Store) -> Iterator[Store]:
    with output.session() as bound:
        yield bound


def below(store: Store, folder: str) -> set[str]:
    return set(store.place.sizes(folder))


# --- whole or not at all ---


def test_looking_makes_nothing(output: Store):
    assert output.find(KEY) is None
    assert list(listing.clips(output.place)) == list(listing.records(output.place)) == []
    assert output.read_state("x.json") is None
    assert not output.is_running()
    assert not output.place.exists("")
    assert not output.state.exists()


def test_a_clip_is_not_there_before_it_is_whole(store: Store):
    draft = store.begin()
    for kind in KINDS:
        draft.write(kind, "0000.x", b"data")
    assert store.find(KEY) is None
    draft.discard()
    assert not list(store.work.iterdir())
    assert not store.place.exists("clips")


def test_a_clip_that_is_there_is_whole(store: Store):
    make(store, record())
    assert below(store, CLIP) == {PROOF, *FRAMES}
    assert store.find(KEY) == store.find(KEY, "first") == record()
    assert store.find(KEY, "other") is None
    assert store.look(KEY, "other").made == record()
    assert list(listing.clips(store.place)) == [KEY]
    assert not list(store.work.iterdir())


def test_the_proof_comes_last_and_goes_first(store: Store, monkeypatch: pytest.MonkeyPatch):
    make(store, record())
    seen = []
    place = type(store.place)
    remove = place.remove

    def look_and_remove(self: object, names: object) -> None:
        names = list(names)
        remove(self, names)
        if any(name.startswith(CLIP) or "/records/" in name for name in names):
            seen.append((any(name.endswith(PROOF) for name in names), PROOF in below(store, CLIP)))

    monkeypatch.setattr(place, "remove", look_and_remove)
    make(store, record(fingerprint="second"))
    assert not any(there for _, there in seen), "whatever goes, the clip counts as nothing from there on"
    assert store.find(KEY) == record(fingerprint="second")


def test_new_flow_keeps_the_rgb_files(store: Store):
    make(store, record())
    before = store.place.read_timed(f"{CLIP}/rgb/0001.png")
    make(store, record(fingerprint="second"), keep_rgb=True)
    assert store.place.read_timed(f"{CLIP}/rgb/0001.png") == before
    assert store.place.read(f"{CLIP}/u/0000.jpg") == b"u 0 second"
    assert store.find(KEY, "first") is None
    assert store.find(KEY) == record(fingerprint="second")
    assert not list(store.work.iterdir())


def test_frames_that_are_gone_cannot_be_kept(store: Store):
    make(store, record(fingerprint="older"))
    draft = store.begin()
    fill(draft, record(), keep_rgb=True)
    store.place.remove([f"{CLIP}/rgb/0001.png"])
    with pytest.raises(FileNotFoundError, match="the rgb files to keep are gone"):
        store.commit(draft, record(), keep_rgb=True)
    assert store.find(KEY) is None


@pytest.mark.parametrize("name", [FRAMES[0], FRAMES[4], FRAMES[6], PROOF])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_a_clip_with_missing_files_does_not_count_and_is_made_again(store: Store, name: str, damage: str):
    make(store, record())
    if damage == "gone":
        store.place.remove([f"{CLIP}/{name}"])
    elif damage == "empty":  # as after a power cut
        store.place.replace(f"{CLIP}/{name}", b"")
    else:
        store.place.replace(f"{CLIP}/{name}", (store.place.read(f"{CLIP}/{name}") or b"")[:-2])
    assert store.find(KEY) is None and store.find_made(KEY) is None
    make(store, record())
    assert store.find(KEY) == record()
    assert below(store, CLIP) == {PROOF, *FRAMES}


def test_a_proof_of_another_version_means_make_it_again(store: Store):
    make(store, record())
    proof = store.place.read(f"{CLIP}/{PROOF}") or b""
    store.place.replace(f"{CLIP}/{PROOF}", proof.replace(b'"frames"', b'"frame_count"'))
    assert store.find(KEY) is None
    assert next(listing.proofs(store.place, [KEY], timed=True)) is None


def test_damaged_files_are_found_and_replaced(store: Store):
    """Of the same sizes, they are as whole as before, and a clip that is made anew would not take their place."""
    draft = store.begin()
    fill(draft, record())
    made = record(rgb_sha256=draft.digest("rgb"), flow_sha256=draft.digest("u", "v"))
    store.commit(draft, made, keep_rgb=False)
    assert checks.damage(store.place, made) == []
    store.place.replace(f"{CLIP}/rgb/0000.png", b"frame 1")
    store.place.replace(f"{CLIP}/rgb/0001.png", b"frame 0")
    assert store.find(KEY) == made
    assert checks.damage(store.place, made) == ["rgb: names and bytes are not those that were written"]
    store.withdraw(made)
    assert store.find(KEY) is None and below(store, CLIP) == {PROOF, *FRAMES}
    make(store, made)
    assert store.find(KEY) == made and checks.damage(store.place, made) == []


# --- what is not the clip's ---


def test_a_folder_of_clips_is_never_replaced_or_removed_for_a_clip_of_its_name(store: Store):
    make(store, record())
    before = below(store, "clips")
    with pytest.raises(OutputError, match="is no clip's folder"):
        make(store, record("walk"))
    with pytest.raises(OutputError, match="is no clip's folder"):
        store.write_record(bad("walk"))
    with pytest.raises(OutputError, match="inside another clip"):
        make(store, record(f"{KEY}/inner"))
    assert below(store, "clips") == before
    assert store.find(KEY) == record()


def test_not_even_where_a_stray_proof_lies_beside_the_clips(store: Store):
    make(store, record())
    store.place.replace(f"clips/walk/{PROOF}", store.place.read(f"{CLIP}/{PROOF}") or b"")
    for remove in (lambda: store.remove_clip("walk"), lambda: make(store, record("walk"))):
        with pytest.raises(OutputError, match="is no clip's folder"):
            remove()
    assert store.find(KEY) == record()


def test_files_of_the_users_stay_when_a_clip_is_made_anew_or_removed(store: Store):
    make(store, record())
    notes = {f"{CLIP}/notes.txt": b"blurred", f"{CLIP}/mine/flow/0000.png": b"by hand"}
    for name, content in notes.items():
        store.place.replace(name, content)
    assert store.find(KEY) == record()
    make(store, record(fingerprint="second"))
    assert {name: store.place.read(name) for name in notes} == notes
    make(store, record(fingerprint="third"), keep_rgb=True)
    assert {name: store.place.read(name) for name in notes} == notes
    store.write_record(bad())
    assert {f"{CLIP}/{name}" for name in below(store, CLIP)} == set(notes)


def test_names_that_look_like_patterns_are_names(store: Store):
    for key in ("walk/v1", "walk/v[1]", "walk/v?"):
        make(store, record(key))
    store.remove_clip("walk/v[1]")
    assert store.find("walk/v[1]") is None
    assert store.find("walk/v1") == record("walk/v1")
    store.remove_clip("walk/v?")
    assert list(listing.clips(store.place)) == ["walk/v1"]
    assert store.find("walk/v1") == record("walk/v1")


# --- records of clips that were not made ---


def test_records_and_clips_replace_each_other(store: Store):
    store.write_record(bad())
    assert store.find(KEY, "first") == bad()
    assert not store.place.exists("clips")
    store.write_record(bad(fingerprint="second"))
    assert store.find(KEY, "first") is None
    assert store.find(KEY) == bad(fingerprint="second")
    ((name, kept, size, time),) = listing.records(store.place)
    assert (kept, size) == (bad(fingerprint="second"), store.place.sizes(".araflow/records")[name.rpartition("/")[2]])
    assert time is not None
    make(store, record())
    assert store.find(KEY) == record()
    assert list(listing.records(store.place)) == []


def test_a_clip_found_bad_is_removed_and_no_other(store: Store):
    make(store, record())
    make(store, record("walk/other"))
    store.write_record(bad())
    assert below(store, CLIP) == set()
    assert store.find(KEY) == bad()
    assert store.find("walk/other") == record("walk/other")


@pytest.mark.parametrize(
    "later",
    [
        bad(fingerprint="second", reason="missing: gone", source_sha256=None),
        bad(fingerprint="second", outcome=Outcome.FAILED, reason="timeout"),
    ],
    ids=["its source is gone", "this run failed"],
)
def test_what_an_earlier_run_made_stays_where(store: Store, later):
    make(store, record())
    store.write_record(later)
    assert store.find(KEY, "first") == record()
    assert store.find(KEY, "second") == later


def test_a_failure_is_not_kept_where_another_process_has_made_the_clip(store: Store):
    make(store, record())
    store.write_record(dataclasses.replace(record(), outcome=Outcome.FAILED, reason="io-error: its folder was taken"))
    assert store.find(KEY) == record()
    assert list(listing.records(store.place)) == []


@pytest.mark.parametrize("key", ["a", "walk/" + "n" * 251, "walk/" + "n" * 300, "walk/é#%?&'\"", "x/y/z"])
def test_a_record_can_be_kept_for_any_key(store: Store, key: str):
    store.write_record(bad(key))
    assert store.find(key) == bad(key)


def test_records_do_not_get_into_each_others_way(store: Store):
    keys = ["a", "a/b", "a.json", "a.json/b", "A"]
    for key in keys:
        store.write_record(bad(key))
    assert [store.find(key) for key in keys] == [bad(key) for key in keys]


# --- state, runs ---


def test_state_is_written_read_and_removed(store: Store):
    store.write_state("ranges/range-1.json", b"{}")
    assert store.read_state("ranges/range-1.json") == b"{}"
    assert store.ranges() == {".araflow/ranges/range-1.json": 2}
    store.remove_state("ranges/range-1.json")
    store.remove_state("ranges/range-1.json")
    assert store.read_state("ranges/range-1.json") is None


def test_what_says_the_same_is_not_written_again(store: Store):
    store.place.replace(MANIFEST, b"one")
    before = store.place.read_timed(MANIFEST)
    store.place.replace(MANIFEST, b"one")
    assert store.place.read_timed(MANIFEST) == before
    store.place.replace(MANIFEST, b"two")
    assert store.place.read(MANIFEST) == b"two"
    with store.place.open(MANIFEST) as opened:
        opened.seek(1)
        assert opened.read() == b"wo"


def test_one_run_at_a_time_and_others_see_it(output: Store):
    with output.locked() as held:
        assert output.is_running() and output.is_live(held.session_id)
        held.check_held()
        with pytest.raises(OutputError, match="another araflow run is writing here"), output.locked():
            pass
        held.write_state("ranges/range-1.json", b"{}")
    assert not output.is_running() and not output.is_live(held.session_id)
    assert output.ranges() == {}, "nobody will take them"
    with output.locked():
        pass


def test_many_are_asked_for_and_come_in_order(output: Store):
    assert list(output.map(lambda number: number * number, range(BATCH))) == [number**2 for number in range(BATCH)]
    with pytest.raises(ZeroDivisionError):
        list(output.map(lambda number: 1 // number, range(BATCH)))
