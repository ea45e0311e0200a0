"""Holds on object storage, and races for a clip in it, in fsspec's own memory: what no real server does on demand."""

import contextlib
import functools
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store_world import KEY, Killed, fill, make, record

from araflow.core.errors import OutputError
from araflow.store import lease as _lease
from araflow.store.address import open_store
from araflow.store.store import Store

memory = pytest.importorskip("fsspec.implementations.memory", reason="needs fsspec: pip install 'araflow[s3]'")
pytest.importorskip("upath", reason="needs universal-pathlib: pip install 'araflow[s3]'")
FAR = {"session": "other", "host": "far", "machine": "far 1", "pid": 7, "time": 0.0}
RECORD = record()


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_lease, "_SECONDS_TO_SETTLE", 0.0)
    return open_store(f"memory://lease{tmp_path}/out")


def hold(output: Store, **fields: object) -> None:
    output.write_state("lock.json", json.dumps(FAR | fields).encode())


def objects(output: Store) -> dict[str, bytes]:
    return {f"/{name}": output.place.read(name) or b"" for name in output.place.sizes("")}


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- holds ---


def test_a_hold_from_another_machine_counts_for_two_minutes(output: Store):
    hold(output, time=time.time() - 110)
    assert output.is_live("other") and not output.is_live("third")
    refused = pytest.raises(OutputError, match=r"writing here \(on far, process 7\).*forgotten after 120 s")
    with refused, output.locked():
        pass
    hold(output, time=time.time() - 130)
    assert not output.is_live("other")
    with output.locked() as bound:
        assert output.is_live(bound.session_id)
        assert _lease.look(output.place).items() >= {"session": bound.session_id, "pid": os.getpid()}.items()
    assert not objects(output)


@pytest.mark.parametrize("who", ["gone", "alive", "this process"])
def test_a_process_of_this_machine_is_looked_for(output: Store, who: str):
    pid = {"gone": 2**22 + 1, "alive": os.getppid(), "this process": os.getpid()}[who]  # above the largest number
    hold(output, time=time.time(), machine=_lease._machine(), pid=pid)
    if who == "alive":
        with pytest.raises(OutputError, match="another araflow run"), output.locked():
            pass
    else:  # of this process, it is of a session that has ended
        with output.locked():
            pass
        assert not objects(output)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"session": 1}'])
def test_an_unreadable_hold_is_a_dead_one_where_nothing_tells_its_age(output: Store, content: bytes):
    output.write_state("lock.json", content)
    with output.locked() as bound:
        assert output.is_live(bound.session_id)
    assert not objects(output)


def test_of_two_that_find_a_dead_hold_one_gets_it(output: Store, monkeypatch: pytest.MonkeyPatch):
    hold(output)
    looks = []
    original = _lease.look

    def look(place: Any) -> Any:
        looks.append(original(place))
        if len(looks) == 1:
            hold(output, session="faster", time=time.time())
        return looks[-1]

    monkeypatch.setattr(_lease, "look", look)
    with pytest.raises(OutputError, match="another araflow run"), output.locked():
        pass
    assert json.loads(output.read_state("lock.json"))["session"] == "faster"


def test_storage_that_ignores_the_condition_is_found_out(output: Store, monkeypatch: pytest.MonkeyPatch):
    original = memory.MemoryFileSystem.pipe_file
    careless = lambda self, path, value, mode="overwrite", **more: original(self, path, value, **more)  # noqa: E731
    monkeypatch.setattr(memory.MemoryFileSystem, "pipe_file", careless)
    refused = pytest.raises(OutputError, match="another araflow run")
    with output.locked(), refused, output.place.held("second"):
        pass
    assert not objects(output)
    monkeypatch.setattr(_lease.time, "sleep", lambda seconds: hold(output, session="last", time=time.time()))
    with pytest.raises(OutputError, match="another araflow run"), output.locked():
        pass
    assert json.loads(output.read_state("lock.json"))["session"] == "last"


def test_a_hold_is_renewed_and_made_again_if_it_is_gone(output: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_lease, "_SECONDS_TO_RENEW", 0.01)
    with output.locked() as bound:
        first = _lease.look(output.place)
        until(lambda: _lease.look(output.place)["time"] > first["time"])
        output.remove_state("lock.json")
        until(lambda: output.is_live(bound.session_id) and _lease.look(output.place))
    assert not objects(output)


def test_a_renewal_that_fails_ends_nothing(
    output: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(_lease, "_SECONDS_TO_RENEW", 0.01)

    def lost(*_: object, **__: object) -> None:
        raise ConnectionError("the network is down")

    with output.locked():
        with monkeypatch.context() as patch:
            patch.setattr(memory.MemoryFileSystem, "pipe_file", lost)
            until(lambda: "could not be renewed" in caplog.text)
        first = _lease.look(output.place)
        until(lambda: _lease.look(output.place)["time"] > first["time"])
    assert not objects(output)


def test_a_run_that_was_taken_for_dead_says_so_and_leaves_the_others_hold(
    output: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(_lease, "_SECONDS_TO_RENEW", 0.01)
    with pytest.raises(OutputError, match=r"on far, process 7.*has taken this one for dead"), output.locked():
        hold(output, time=time.time())
        until(lambda: "has taken this one for dead" in caplog.text)
    assert output.is_live("other")


def test_a_run_that_has_lost_its_hold_may_not_write_the_manifest(output: Store):
    with pytest.raises(OutputError, match="taken this one for dead"), output.locked() as bound:
        bound.check_held()
        hold(output, time=time.time())
        bound.check_held()
        pytest.fail("it still thinks that it holds the output")


def test_a_hold_whose_making_was_sent_twice_is_not_taken_for_anothers(output: Store, monkeypatch: pytest.MonkeyPatch):
    whole = _lease.Lease._make
    # The first answer is lost; the client asks again, and hears that there is one.
    monkeypatch.setattr(_lease.Lease, "_make", lambda lease: whole(lease) and False)
    with output.locked() as bound:
        assert output.is_live(bound.session_id)
    assert not objects(output)


def test_an_error_within_a_run_is_not_hidden(output: Store):
    with pytest.raises(ZeroDivisionError), output.locked():
        hold(output, time=time.time())
        raise ZeroDivisionError


# --- clips ---


class Requests:
    """Counts the requests to the storage, and does something just before one of them, or dies there."""

    def __init__(self) -> None:
        self.seen, self.step, self.action = 0, 0, None

    @contextlib.contextmanager
    def at(self, step: int, action: Any) -> Iterator[list[bool]]:
        """Do it before request number ``step`` of what follows; yields a list that then says whether there was one."""
        before = self.seen, self.step, self.action
        self.seen, self.step, self.action = 0, step, action
        happened: list[bool] = []
        try:
            yield happened
        finally:
            happened.append(self.seen >= step)
            self.seen, self.step, self.action = before

    def count(self) -> None:
        self.seen += 1
        if self.seen == self.step:
            self.action()


def die() -> None:
    raise Killed


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    counted = Requests()

    def wrap(original: Any) -> Any:
        def wrapped(*args: object, **kwargs: object) -> object:
            counted.count()
            return original(*args, **kwargs)

        return wrapped

    for name in ("cat_file", "find", "pipe_file", "put_file", "rm_file"):
        monkeypatch.setattr(memory.MemoryFileSystem, name, wrap(getattr(memory.MemoryFileSystem, name)))
    return counted


FILES = [f"rgb/000{n}.png" for n in range(3)] + [f"{kind}/000{n}.jpg" for kind in "uv" for n in range(2)]


def is_whole(output: Store) -> bool:
    names = {name for name in objects(output) if name.startswith("/clips")}
    return output.find(KEY) == RECORD and names == {f"/clips/{KEY}/{name}" for name in (".araflow.json", *FILES)}


def two_writers(output: Store, stores: list[Any], there: str) -> list[Any]:
    """What two processes do at last when both have made the same clip, in place of what is there."""
    keep_rgb = there.endswith("stay")
    output.remove_clip(KEY)
    if there != "nothing":
        make(stores[0], record(fingerprint="older"))
    drafts = [store.begin() for store in stores]
    for draft in drafts:
        fill(draft, RECORD, keep_rgb=keep_rgb)
    return [
        functools.partial(store.commit, draft, RECORD, keep_rgb=keep_rgb)
        for store, draft in zip(stores, drafts, strict=True)
    ]


THERE = ["nothing", "an older one", "an older one whose frames stay"]


@pytest.mark.parametrize("there", THERE)
def test_two_that_make_the_same_clip_at_once_both_end_well(output: Store, requests: Requests, there: str):
    with output.session() as one, output.session() as two:
        for step in range(1, 100):
            first, second = two_writers(output, [one, two], there)
            with requests.at(step, second) as happened:
                first()
            assert is_whole(output)
            if not happened[0]:
                break
    assert step > 8


@pytest.mark.parametrize("there", THERE[:2])
def test_one_that_is_killed_while_it_makes_the_same_clip_harms_no_other(output: Store, requests: Requests, there: str):
    killed: list[bool] = []

    def end(step: int, commit: Any) -> None:
        with requests.at(step, die) as happened, contextlib.suppress(Killed):
            commit()
        killed.extend(happened)

    tried = 0
    with output.session() as one, output.session() as two:
        for step in itertools.count(1):
            for last in itertools.count(1, 1 if there == "nothing" else 3):  # each pair costs hundredths of a second
                first, second = two_writers(output, [one, two], there)
                killed.clear()
                with requests.at(step, functools.partial(end, last, second)):
                    first()
                assert is_whole(output), (step, last)
                tried += 1
                if killed != [True]:
                    break
            if not killed:
                break
    assert tried > 50


def test_one_that_is_killed_after_another_has_made_the_same_clip_leaves_that(output: Store, requests: Requests):
    def late(step: int, commit: Any) -> None:
        with requests.at(0, die):
            commit()
        requests.step, requests.action = step, die

    with output.session() as one, output.session() as two:
        for step in range(1, 12):
            for last in range(step + 1, 14, 2):
                first, second = two_writers(output, [one, two], "nothing")
                with contextlib.suppress(Killed), requests.at(step, functools.partial(late, last, second)):
                    first()
                assert is_whole(output), (step, last)
