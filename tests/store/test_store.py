"""The output folder: a clip is there whole or not at all, and one run at a time writes."""

import contextlib
import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_world import KEY, Killed, bad, fill, make, record, tree

from araflow.core.clip import Outcome
from araflow.core.errors import OutputError
from araflow.store.address import open_store
from araflow.store.layout import stem
from araflow.store.store import Store

Commit = Callable[[], None]
NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "out")
    with store.locked() as bound:
        yield bound


# --- names ---


@pytest.mark.parametrize(
    ("naming", "index", "total", "expected"),
    [
        ("card", 0, 2, "0000"),
        ("card", 9999, 10000, "9999"),
        ("card", 0, 10001, "00000"),
        ("card", 10000, 10001, "10000"),
        ("recipe", 0, 2, "000001"),
        ("recipe", 999_998, 999_999, "999999"),
        ("recipe", 0, 1_000_000, "0000001"),
    ],
)
def test_frame_names(naming: str, index: int, total: int, expected: str):
    assert stem(naming, index, total) == expected  # type: ignore[arg-type]


@given(naming=st.sampled_from(["card", "recipe"]), total=st.integers(1, 2_000_000), data=st.data())
def test_sorting_names_sorts_frames(naming, total, data):
    indices = data.draw(st.lists(st.integers(0, total - 1), unique=True, max_size=20))
    names = {index: stem(naming, index, total) for index in indices}
    assert sorted(indices) == sorted(indices, key=lambda index: names[index])
    assert len(set(names.values())) == len(indices)


# --- whole or not at all ---


def test_nothing_but_frames_is_visible(store: Store):
    make(store, record())
    visible = [
        path for path in store.out.rglob("*") if not any(p.startswith(".") for p in path.relative_to(store.out).parts)
    ]
    assert {path.suffix for path in visible if path.is_file()} == {".png", ".jpg"}


def test_writing_counts_bytes_and_never_overwrites(store: Store):
    draft = store.begin()
    draft.write("u", "0000.jpg", b"four")
    draft.write("u", "0001.jpg", b"seven!!")
    assert draft.written == {"rgb": 0, "u": 11, "v": 0}
    with pytest.raises(FileExistsError):
        draft.write("u", "0000.jpg", b"again")
    draft.discard()


def test_frames_are_renamed_where_the_clip_was_longer_than_its_header_said(store: Store):
    draft = store.begin()
    for index in range(12):
        draft.write("rgb", f"{index}.png", bytes([index]))
    draft.rename_frames("card", 12)
    store.commit(draft, record(frames=12, flows=0), keep_rgb=False)
    files = sorted((store.clip_folder(KEY) / "rgb").iterdir())
    assert [(file.name, file.read_bytes()) for file in files] == [(f"{i:04d}.png", bytes([i])) for i in range(12)]


def test_new_flow_keeps_the_rgb_files_themselves(store: Store):
    make(store, record())
    rgb = store.clip_folder(KEY) / "rgb"
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in rgb.iterdir()}
    make(store, record(fingerprint="second"), keep_rgb=True)
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in rgb.iterdir()} == before
    assert (rgb.parent / "u" / "0000.jpg").read_bytes() == b"u 0 second"
    assert store.find(KEY, "first") is None
    assert store.find(KEY) == record(fingerprint="second")
    assert not list(store.work.iterdir())


STEPS = [(Path, name) for name in ("rename", "replace", "write_text", "unlink", "rmdir")] + [(shutil, "rmtree")]


def killing(function: Callable[..., object], steps: Iterator[int], last: int) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        if next(steps) == last:
            raise Killed
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("case", ["new", "remade", "flow only", "now bad", "now good", "beside notes", "notes, bad"])
def test_killed_at_any_step_the_next_run_makes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str):
    """Every rename, every removal and every record written is such a step."""

    def before(store: Store) -> None:
        with store.locked() as store:
            if case not in ("new", "now good"):
                make(store, record())
                if "notes" in case:
                    for name in ("notes.txt", "rgb/notes.txt", "mine/flow/0000.png"):
                        store.place.replace(f"clips/{KEY}/{name}", b"mine")
            elif case == "now good":
                store.write_record(bad())

    def after(store: Store) -> None:
        with store.locked() as store:
            if case in ("now bad", "notes, bad"):
                store.write_record(bad(fingerprint="second"))
            else:
                known = store.find(KEY)
                keep = case == "flow only" and known is not None and known.outcome is Outcome.DONE
                make(store, record(fingerprint="second"), keep_rgb=keep)

    undisturbed = open_store(tmp_path / "undisturbed")
    before(undisturbed)
    after(undisturbed)
    steps_seen = 0
    for step in range(100):
        store, steps = open_store(tmp_path / str(step)), iter(range(100))
        before(store)
        with monkeypatch.context() as patch:
            for owner, name in STEPS:
                patch.setattr(owner, name, killing(getattr(owner, name), steps, step))
            patch.setattr(
                "araflow.store.draft.ClipDraft.discard", lambda self: None
            )  # a killed process tidies nothing up
            try:
                after(store)
            except Killed:
                steps_seen += 1
            else:
                break
        known = store.find(KEY)
        assert known in (None, record(), record(fingerprint="second"), bad(), bad(fingerprint="second"))
        if known is None or known.fingerprint == "first":
            after(store)
        else:
            with store.locked():
                pass
        assert store.find(KEY, "second") == undisturbed.find(KEY, "second")
        assert tree(store.out) == tree(undisturbed.out)
    assert steps_seen >= 3


# --- records of clips that were not made ---


def test_a_record_that_cannot_be_written_says_so(store: Store):
    (store.state / "records").touch()
    with pytest.raises(OutputError, match="no record of 'walk/one two #1' can be written: File exists"):
        store.write_record(bad())


# --- several processes at once ---


def interleaved(
    first: Callable[[], None], second: Callable[[], None], step: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Commit the first; just before its look or change number ``step``, the second commits whole.

    False: there is no such step.
    """
    seen = 0
    busy = False
    originals = {name: getattr(Path, name) for name in ("rename", "read_bytes", "unlink", "mkdir", "is_dir")}

    def wrap(name: str) -> None:
        def wrapped(self: Path, *args: object, **options: object) -> object:
            nonlocal seen, busy
            if not busy:
                seen += 1
                if seen == step:
                    busy = True
                    second()
                    busy = False
            return originals[name](self, *args, **options)

        monkeypatch.setattr(Path, name, wrapped)

    for name in originals:
        wrap(name)
    first()
    monkeypatch.undo()
    return seen >= step


RECORD = record()


@pytest.mark.parametrize("there", ["nothing", "an older one"])
def test_two_that_make_the_same_clip_at_once_both_end_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str):
    for step in range(1, 100):
        output = open_store(tmp_path / str(step))
        with output.locked() as first, output.session() as second:
            if there == "an older one":
                make(first, record(fingerprint="older"))
            drafts = [first.begin(), second.begin()]
            for draft in drafts:
                fill(draft, RECORD)
            commits = [
                functools.partial(one.commit, draft, RECORD, keep_rgb=False)
                for one, draft in zip((first, second), drafts, strict=True)
            ]
            happened = interleaved(*commits, step, monkeypatch)
            for draft in drafts:
                draft.discard()
            assert output.find(KEY) == RECORD
            assert not list(first.work.iterdir()) and not list(second.work.iterdir())
        assert not (output.state / "work").exists()
        if not happened:
            break
    assert step > 3


def test_what_a_dead_session_has_left_is_removed_and_a_live_ones_is_not(tmp_path: Path):
    output = open_store(tmp_path)
    code = HOLD.replace("locked()", "session() as bound").replace(
        'print("locked"', '(bound.work / "half").touch(); print("locked"'
    )
    sessions: dict[str, subprocess.Popen[bytes]] = {}
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"locked\n"
        (new,) = {path.name for path in (output.state / "work").iterdir() if path.is_dir()} - set(sessions)
        sessions[new] = process
    dead, live = sessions
    assert output.is_live(dead) and output.is_live(live)
    sessions[dead].kill()
    sessions[dead].communicate()
    assert not output.is_live(dead)
    with output.locked() as bound:
        assert {path.name for path in (output.state / "work").iterdir() if path.is_dir()} == {live, bound.session_id}
        assert (output.state / "work" / live / "half").exists()
    sessions[live].communicate()
    assert not output.is_live(live)
    assert not (output.state / "work").exists()


def test_a_file_system_without_locks_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OutputError, match="has no locks"), open_store(tmp_path).locked():
        pass


# --- one run at a time ---

HOLD = """
import sys
from araflow.store.address import open_store
with open_store(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_elsewhere(out: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


def test_a_second_run_on_one_output_is_refused_while_the_first_one_lasts(tmp_path: Path):
    store = open_store(tmp_path)
    with held_elsewhere(tmp_path) as process:
        (session,) = (path for path in (store.state / "work").iterdir() if path.is_dir())
        (session / "half-made").touch()
        with pytest.raises(OutputError, match="another araflow run is writing here"), store.locked():
            pass
        assert (session / "half-made").exists()  # the first run's work is left alone
        with open_store(tmp_path / "other").locked():  # another output is free
            pass
        process.communicate()
    with store.locked():
        pass


def test_a_killed_run_lets_go(tmp_path: Path):
    with held_elsewhere(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with open_store(tmp_path).locked():
            pass


def test_what_a_killed_run_left_half_made_is_emptied_and_nothing_else(tmp_path: Path):
    store, outside = open_store(tmp_path / "out"), tmp_path / "home"
    dead, theirs = "d" * 32, ("0123/rgb/0000.png", "x.json", "notes.lock", f"{'e' * 32}/mine", "f.lock/mine")
    for name in (f"{dead}/half/rgb/0000.png", f"{dead}.lock", *theirs):
        (store.work / name).parent.mkdir(parents=True, exist_ok=True)
        (store.work / name).write_text("mine")
    (outside / "thesis").mkdir(parents=True)
    (outside / "thesis" / "1.txt").write_text("precious")
    (store.work / ("a" * 32)).symlink_to(outside)
    (store.work / f"{'a' * 32}.lock").touch()
    (store.work / f"{'b' * 32}.lock").symlink_to(outside / "thesis" / "1.txt")
    with store.locked() as bound:
        assert list(bound.work.iterdir()) == []
        assert not (store.work / dead).exists()
    assert {path.relative_to(store.work).as_posix() for path in store.work.rglob("*") if path.is_file()} >= {*theirs}
    assert (outside / "thesis" / "1.txt").read_text() == "precious"


@pytest.mark.parametrize("name", [".araflow", ".araflow/work", ".araflow/lock"])
def test_no_link_is_followed_where_a_run_works(tmp_path: Path, name: str):
    store, outside = open_store(tmp_path / "out"), tmp_path / "home"
    (outside / ("d" * 32)).mkdir(parents=True)
    for file in (outside / ("d" * 32) / "mine", outside / f"{'d' * 32}.lock"):
        file.write_text("precious")
    before = tree(outside)
    link = store.out / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / f"{'d' * 32}.lock" if name.endswith("lock") else outside)
    for held in (store.locked, store.session):
        if held == store.session and name.endswith("lock"):
            continue
        with pytest.raises(OutputError, match="is a link"), held():
            pass
    assert store.place.sessions.left() == []
    assert tree(outside) == before and link.is_symlink()


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere, so give that up for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_that_cannot_be_written_to_says_so(existing: bool):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if existing:
            with open_store(folder / "out").locked():
                pass
            for path in (folder / "out" / ".araflow", folder / "out"):
                path.chmod(0o555)
            (folder / "out" / ".araflow" / "lock").chmod(0o444)
        folder.chmod(0o555)
        try:
            denied = pytest.raises(OutputError, match="out: cannot be written to: Permission denied")
            with as_nobody(), denied, open_store(folder / "out").locked():
                pass
        finally:
            for path in (folder, folder / "out", folder / "out" / ".araflow"):
                if path.exists():
                    path.chmod(0o755)


def test_a_file_in_the_place_of_the_output_folder_says_so(tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    with (
        pytest.raises(OutputError, match="out: cannot be written to: Not a directory"),
        open_store(tmp_path / "out").locked(),
    ):
        pass


def test_the_lock_is_free_afterwards_even_while_somebody_holds_on_to_it(tmp_path: Path):
    store = open_store(tmp_path / "held")
    context = store.locked()
    with context:
        pass
    with store.locked():
        assert context is not None
