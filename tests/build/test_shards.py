"""What a shard makes of the answers of its workers; the workers are played by a script."""

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from araflow import optical
from araflow.build import extract, shards, stages
from araflow.build.extract import Job
from araflow.build.pool import WorkerError, WorkerPool
from araflow.build.recipe import Recipe
from araflow.build.resolved import resolve
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import OutputError, PoolClosedError, SourceError
from araflow.core.listing import Listing
from araflow.core.processes import Lost
from araflow.core.spec import BuildSpec, RunSpec
from araflow.core.spec_file import parse
from araflow.store.address import open_store
from araflow.store.store import Store

SEGFAULT, KILLED = Lost(timed_out=False, exit_code=-11), Lost(timed_out=False, exit_code=-9)
TIMEOUT = Lost(timed_out=True, exit_code=-9)
DONE = "done"
Answer = object


def settings(**sections: object) -> BuildSpec:
    return parse({"name": "test", "out": "unused", "optical": {"backend": "opencv"}, **sections})


def recipe_of(**sections: object) -> Recipe:
    given = settings(**sections)
    return Recipe.of(given, optical.choose("opencv", given.optical.algorithm))


RECIPE = recipe_of()


class Script:
    """Stands in for the pool: per clip, what its workers answer, one after the other."""

    def __init__(self, store: Store, **answers: list[Answer]) -> None:
        self.store, self.answers = store, {name: list(given) for name, given in answers.items()}
        self.jobs: list[Job] = []
        self.futures: dict[str, Future[object]] = {}
        self.pauses: list[float] = []

    def submit(self, function: Callable[..., object], job: Job, timeout: float) -> Future[object]:
        assert function is extract.make
        self.jobs.append(job)
        given = self.answers.get(Path(job.key).name, [DONE])
        answer = given.pop(0) if len(given) > 1 else given[0]
        future: Future[object] = Future()
        self.futures[job.key] = future
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        elif answer == DONE:
            future.set_result(make(self.store, job))
        elif answer is not None:
            future.set_result(answer)
        return future

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def make(store: Store, job: Job) -> ClipRecord:
    draft = store.begin()
    for kind, names in (("rgb", ("0000.png", "0001.png")), ("u", ("0000.jpg",)), ("v", ("0000.jpg",))):
        for name in () if job.keep_rgb and kind == "rgb" else names:
            draft.write(kind, name, b"x")
    record = ClipRecord(
        key=job.key,
        outcome=Outcome.DONE,
        reason="complete",
        source_bytes=job.source_bytes,
        source_sha256=job.source_sha256,
        width=4,
        height=4,
        frames=2,
        flows=1,
        rgb_bytes=2,
        flow_bytes=2,
        fingerprint=job.recipe.fingerprint,
        rgb_fingerprint=job.recipe.rgb_fingerprint,
    )
    store.commit(draft, record, keep_rgb=job.keep_rgb)
    return record


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    found = []
    for name in "abc":
        path = tmp_path / "videos" / f"{name}.avi"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"the bytes of {name}")
        found.append(Clip("test", f"walk/{name}", "walk", name=f"{name}.avi", source=path))
    return found


@pytest.fixture
def store(tmp_path: Path):
    store = open_store(tmp_path / "out")
    with store.locked() as bound:
        yield bound


def shard(
    clips: list[Clip],
    store: Store,
    recipe: Recipe = RECIPE,
    on_error: str = "quarantine",
    retries: int = 0,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
    **answers: list[Answer],
) -> tuple[dict[str, ClipRecord], list[Job]]:
    script = Script(store, **answers)
    run = RunSpec.model_validate({"on_error": on_error, "clip_timeout": 12.5, "retries": retries})
    records = shards.extract_shard(clips, recipe, store, script, run, on_record)  # type: ignore[arg-type]
    assert [record.key for record in records] == sorted(clip.key for clip in clips)
    return {Path(record.key).name: record for record in records}, script.jobs


# --- answers of workers ---


@pytest.mark.parametrize(
    ("answers", "outcome", "reason", "submissions"),
    [
        ([DONE], "done", "complete", 1),
        ([SEGFAULT, DONE], "done", "complete", 2),
        ([KILLED, DONE], "done", "complete", 2),
        ([SEGFAULT, SEGFAULT], "quarantined", "crashed: the decoding process ended by SIGSEGV, twice", 2),
        ([Lost(False, -6)], "quarantined", "crashed: the decoding process ended by SIGABRT, twice", 2),
        ([KILLED, KILLED], "failed", "crashed: the decoding process ended by SIGKILL, twice", 2),
        ([Lost(False, 42)], "quarantined", "crashed: the decoding process ended with exit code 42, twice", 2),
        ([Lost(False, 1)], "failed", "crashed: the decoding process ended with exit code 1, twice", 2),
        ([TIMEOUT], "failed", "timeout: took longer than run.clip_timeout=12.5 seconds", 1),
        ([KILLED, TIMEOUT], "failed", "timeout: took longer than run.clip_timeout=12.5 seconds", 2),
        ([WorkerError("ValueError: odd")], "failed", "error: ValueError: odd", 1),
        ([SEGFAULT, WorkerError("ValueError: odd")], "failed", "error: ValueError: odd", 2),
    ],
)
def test_an_answer_becomes_a_record(clips, store, answers, outcome, reason, submissions):
    records, jobs = shard(clips, store, b=answers)
    assert (records["b"].outcome, records["b"].reason) == (outcome, reason)
    assert [job.key for job in jobs].count("walk/b") == submissions
    assert records["a"].outcome is records["c"].outcome is Outcome.DONE
    assert store.find("walk/b", RECIPE.fingerprint) == records["b"]  # known to the next run too
    assert records["b"].source_sha256 == extract.hash_source(clips[1].source)[1]
    assert sum(shards.outcomes(records.values()).values()) == 3


def test_what_failed_is_tried_again_and_what_was_quarantined_is_not(clips, store):
    shard(clips, store, a=[TIMEOUT], b=[SEGFAULT], c=[DONE])
    records, jobs = shard(clips, store, a=[DONE])
    assert [job.key for job in jobs] == ["walk/a"]
    assert {name: record.outcome for name, record in records.items()} == {
        "a": Outcome.DONE,
        "b": Outcome.QUARANTINED,
        "c": Outcome.DONE,
    }
    assert shard(clips, store)[1] == []


def test_what_was_quarantined_is_tried_again_with_other_settings_or_another_source(clips, store):
    shard(clips, store, b=[SEGFAULT], c=[SEGFAULT])
    clips[1].source.write_text("other bytes")
    assert [job.key for job in shard(clips, store)[1]] == ["walk/b"]
    other = recipe_of(optical={"bound": 10})
    assert [job.key for job in shard(clips, store, other)[1]] == ["walk/a", "walk/b", "walk/c"]


def test_every_clip_is_reported_once_with_whether_it_was_worked_on(clips, store):
    shard(clips[:1], store)
    told: dict[str, bool] = {}

    def note(record: ClipRecord, made: bool) -> None:
        assert record.key not in told
        told[record.key] = made

    gone = dataclasses.replace(clips[2], source=None)
    shard([clips[0], clips[1], gone], store, on_record=note)
    assert told == {"walk/a": False, "walk/b": True, "walk/c": False}


@pytest.mark.parametrize("error", [OutputError("disk full"), PoolClosedError("stopped")])
def test_trouble_that_is_not_the_clips_ends_the_shard(clips, store, error):
    with pytest.raises(type(error), match=str(error)):
        shard(clips, store, a=[error], b=[None], c=[None])
    assert store.find("walk/a") is None


def test_the_first_bad_clip_ends_the_shard_if_asked(clips, store):
    with pytest.raises(SourceError, match=r"walk/b: quarantined: crashed: .* \(run.on_error is stop\)"):
        shard(clips, store, on_error="stop", b=[SEGFAULT], c=[None])
    with pytest.raises(SourceError, match="walk/b: quarantined"):  # and again, since it is still bad
        shard(clips, store, on_error="stop")
    assert shard(clips, store)[0]["b"].outcome is Outcome.QUARANTINED


# --- what is to be done ---


def test_a_missing_clip_is_a_row(clips, store):
    gone = [dataclasses.replace(clip, source=None) for clip in clips]
    records, jobs = shard(gone, store)
    assert jobs == []
    assert {record.outcome for record in records.values()} == {Outcome.QUARANTINED}
    assert records["b"].reason == "missing: b.avi is listed but not in the source"
    shard(clips, store)
    assert store.find("walk/b").outcome is Outcome.DONE


def test_a_clip_that_goes_missing_after_it_was_made_stays_made(clips, store):
    shard(clips, store)
    gone = [dataclasses.replace(clip, source=None) for clip in clips]
    records, jobs = shard(gone, store)
    assert {record.outcome for record in records.values()} == {Outcome.DONE}
    assert jobs == []


def unreadable(clip: Clip) -> Clip:
    """Root can read any file, but nobody one that is gone."""
    assert clip.source is not None
    return dataclasses.replace(clip, source=clip.source.with_suffix(".gone"))


def test_an_unreadable_source_fails_and_is_tried_again(clips, store):
    records, jobs = shard([unreadable(clips[0]), *clips[1:]], store)
    assert (records["a"].outcome, records["a"].reason_code) == (Outcome.FAILED, "io-error")
    assert len(jobs) == 2
    assert [job.key for job in shard(clips, store)[1]] == ["walk/a"]


def test_a_clip_whose_source_becomes_unreadable_after_it_was_made_stays_made(clips, store):
    shard(clips, store)
    records, _ = shard([unreadable(clips[0]), *clips[1:]], store)
    assert records["a"].outcome is Outcome.DONE
    assert records["a"] == store.find("walk/a")
    assert not (store.state / "records").exists()


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"optical": {"bound": 10}}, True),
        ({"optical": {"quantizer": "max_radius"}}, True),
        ({"optical": {"algorithm": "farneback"}}, True),
        ({"optical": {"preset": "fast"}}, True),
        ({"optical": {"jpeg_quality": 90}}, True),
        ({"optical": {"lossless": True}}, True),
        ({"optical": {"also": ["npy16"]}}, True),
        ({"rgb": {"naming": "recipe"}}, False),
        ({"rgb": {"max_frames": 5}}, False),
        ({"rgb": {"format": "jpeg"}}, False),
        ({"rgb": {"short_side": 20}}, False),
        ({"rgb": {"fps": 5}}, False),
    ],
)
def test_frames_are_kept_where_only_flow_changes(clips, store, change, kept):
    shard(clips, store)
    clips[2].source.write_text("other bytes")
    _, jobs = shard(clips, store, recipe_of(**change))
    assert [(Path(job.key).name, job.keep_rgb) for job in jobs] == [("a", kept), ("b", kept), ("c", False)]


@pytest.mark.parametrize(
    "same",
    [
        {"optical": {"bound": 20}},
        {"optical": {"backend": "auto"}},
        {"optical": {"algorithm": "dis"}},
        {"run": {"workers": 3, "shard_size": 2, "on_error": "stop", "clip_timeout": 1}},
        {"name": "other", "out": "elsewhere"},
        {"split": {"protocol": "group", "seed": 3}},
    ],
)
def test_settings_that_change_no_file_remake_nothing(clips, store, same):
    shard(clips, store)
    assert shard(clips, store, recipe_of(**same))[1] == []


def test_shards_hold_every_clip_once(clips):
    selection = stages.selection(Listing(tuple(clips)), "here")
    assert selection.labels == ("walk",)
    for size in (1, 2, 3, 64):
        cut = shards.shards(selection.clips, size)
        assert [clip for one in cut for clip in one] == clips
        assert {len(one) for one in cut[:-1]} <= {size}


def test_outcomes_count_all_of_them():
    assert shards.outcomes([]) == {"done": 0, "filtered": 0, "quarantined": 0, "failed": 0}


def test_a_manifest_is_not_written_before_every_clip_has_a_record(clips, store):
    shard(clips[:2], store)
    with pytest.raises(OutputError, match="'walk/c' has no record: run the build again"):
        selection = stages.selection(Listing(tuple(clips)), "here")
        stages.write_manifest(resolve(settings(), accept_licence=True), selection, store)
    assert not store.manifest.exists()


# --- what failed is tried again ---

ODD, GONE = WorkerError("ValueError: odd"), WorkerError("OSError: gone")


def tried(clips: list[Clip], store: Store, retries: int, on_error: str = "quarantine", **answers: list[Answer]):
    """Return the records by name, how often each clip was tried, the pauses, and what was told, in that order."""
    script = Script(store, **answers)
    run = RunSpec.model_validate({"on_error": on_error, "retries": retries, "clip_timeout": 12.5})
    told: list[str] = []
    try:
        records = shards.extract_shard(clips, RECIPE, store, script, run, lambda one, made: told.append(one.key))  # type: ignore[arg-type]
    finally:
        tries = Counter(Path(job.key).name for job in script.jobs)
    return {Path(record.key).name: record.reason for record in records}, tries, script.pauses, told


@pytest.mark.parametrize(
    ("number", "reason", "tries"),
    [(0, f"error: {GONE}", 1), (1, f"error: {ODD}", 2), (2, "complete", 3), (9, "complete", 3)],
)
def test_only_what_failed_is_tried_again(clips, store, number, reason, tries):
    given = {"b": [GONE, ODD, DONE], "c": [TIMEOUT, DONE]}
    records, seen, pauses, told = tried(clips, store, number, **given)
    late = "timeout: took longer than run.clip_timeout=12.5 seconds"
    assert records == {"a": "complete", "b": reason, "c": late}
    assert seen == {"a": 1, "b": tries, "c": 1}
    assert sorted(told) == ["walk/a", "walk/b", "walk/c"], "each is told of once"
    assert pauses == [5.0, 25.0, 125.0][: tries - 1]


def test_a_refused_clip_is_not_tried_again(clips, store):
    records, seen, pauses, _ = tried(clips, store, 5, b=[SEGFAULT])
    assert records["b"].startswith("crashed: ")
    assert seen["b"] == 2, "a lost process is started once more, in the same try"
    assert pauses == []


def test_a_failure_that_passes_does_not_stop_the_run(clips, store):
    records, seen, _, _ = tried(clips, store, 2, on_error="stop", b=[GONE, KILLED, KILLED, DONE])
    assert set(records.values()) == {"complete"}
    assert seen == {"a": 1, "b": 4, "c": 1}


def test_a_failure_that_stays_stops_the_run_after_its_last_try(clips, store):
    told: list[str] = []
    script = Script(store, b=[GONE])
    run = RunSpec.model_validate({"on_error": "stop", "retries": 2})
    with pytest.raises(SourceError, match=r"walk/b: failed: error: OSError: gone \(run.on_error is stop\)"):
        shards.extract_shard(clips, RECIPE, store, script, run, lambda one, made: told.append(one.key))  # type: ignore[arg-type]
    assert [job.key for job in script.jobs].count("walk/b") == 3
    assert told[-1] == "walk/b"
    assert set(told[:-1]) == {"walk/a", "walk/c"}, "the others are made meanwhile"
    assert store.find("walk/b").reason == "error: OSError: gone"


@pytest.mark.parametrize(("answer", "why"), [(SEGFAULT, "quarantined: crashed"), (TIMEOUT, "failed: timeout")])
def test_what_no_retry_mends_stops_the_run_at_once(clips, store, answer, why):
    script = Script(store, a=[GONE], b=[answer])
    run = RunSpec.model_validate({"on_error": "stop", "retries": 5})
    with pytest.raises(SourceError, match=f"walk/b: {why}"):
        shards.extract_shard(clips, RECIPE, store, script, run)  # type: ignore[arg-type]
    assert script.pauses == []


def test_an_unreadable_source_is_tried_again_before_it_stops_the_run(clips, store):
    gone = unreadable(clips[1])

    class Mended(Script):
        def pause(self, seconds: float) -> None:
            gone.source.write_text("here again")

    run = RunSpec.model_validate({"on_error": "stop", "retries": 1})
    records = shards.extract_shard([clips[0], gone], RECIPE, store, Mended(store), run)  # type: ignore[arg-type]
    assert {record.outcome for record in records} == {Outcome.DONE}


def test_the_second_try_of_a_lost_clip_holds_back_no_other_answer(clips, store):
    """Its process may take until its time limit, half an hour, while the others' answers are there."""
    script = Script(store, a=[KILLED, None], b=[None], c=[None])
    told: list[str] = []
    both = threading.Event()

    def note(record: ClipRecord, made: bool) -> None:
        told.append(record.key)
        if len(told) == 2:
            both.set()

    run = RunSpec.model_validate({"retries": 0})
    records: list[ClipRecord] = []
    thread = threading.Thread(
        target=lambda: records.extend(shards.extract_shard(clips, RECIPE, store, script, run, note))  # type: ignore[arg-type]
    )
    thread.start()
    while [job.key for job in script.jobs].count("walk/a") < 2:
        thread.join(0.01)
    for name in ("walk/b", "walk/c"):
        job = next(job for job in script.jobs if job.key == name)
        script.futures[name].set_result(make(store, job))
    in_time = both.wait(5.0)
    script.futures["walk/a"].set_result(make(store, script.jobs[0]))
    thread.join(5.0)
    assert in_time
    assert sorted(told[:2]) == ["walk/b", "walk/c"]
    assert {record.outcome for record in records} == {Outcome.DONE}


def test_a_run_that_is_stopped_does_not_wait_for_the_next_try(clips, store):
    pool = WorkerPool(1)
    threading.Timer(0.2, pool.close).start()
    run = RunSpec.model_validate({"retries": 9})
    with pytest.raises(PoolClosedError):
        shards.extract_shard([unreadable(clips[0])], RECIPE, store, pool, run)
    assert store.find("walk/a").reason_code == "io-error"
