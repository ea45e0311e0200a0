"""What a shard makes of the answers of its workers; the workers are played by a script."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow import optical
from araflow.build import extract, stages
from araflow.build.extract import Job, Recipe
from araflow.build.pool import WorkerError
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import OutputError, PoolClosedError, SourceError
from araflow.core.processes import Lost
from araflow.core.spec import BuildSpec, RunSpec
from araflow.core.spec_file import parse
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

    def submit(self, function: Callable[..., object], job: Job, timeout: float) -> Future[object]:
        assert function is extract.make
        self.jobs.append(job)
        given = self.answers.get(Path(job.key).name, [DONE])
        answer = given.pop(0) if len(given) > 1 else given[0]
        future: Future[object] = Future()
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        elif answer == DONE:
            future.set_result(make(self.store, job))
        elif answer is not None:
            future.set_result(answer)
        return future


def make(store: Store, job: Job) -> ClipRecord:
    writer = store.begin(job.key)
    for kind, count in (("rgb", 2), ("u", 1), ("v", 1)):
        for index in range(0 if job.keep_rgb and kind == "rgb" else count):
            writer.write(kind, f"{index:04d}", b"x")
    record = ClipRecord(
        key=job.key,
        outcome=Outcome.DONE,
        reason="complete",
        source_bytes=job.source_bytes,
        source_sha256=job.source_sha256,
        frames=2,
        flows=1,
        rgb_bytes=2,
        flow_bytes=2,
        fingerprint=job.recipe.fingerprint,
        rgb_fingerprint=job.recipe.rgb_fingerprint,
    )
    writer.commit(record, keep_rgb=job.keep_rgb)
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
    store = Store(tmp_path / "out")
    with store.locked() as bound:
        yield bound


def shard(
    clips: list[Clip],
    store: Store,
    recipe: Recipe = RECIPE,
    on_error: str = "quarantine",
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
    **answers: list[Answer],
) -> tuple[dict[str, ClipRecord], list[Job]]:
    script = Script(store, **answers)
    run = RunSpec.model_validate({"on_error": on_error, "clip_timeout": 12.5})
    records = stages.extract_shard(clips, recipe, store, script, run, on_record)  # type: ignore[arg-type]
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
    assert sum(stages.outcomes(records.values()).values()) == 3


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
    """Root can read any file, but nobody can follow a link to itself."""
    assert clip.source is not None
    loop = clip.source.with_suffix(".loop")
    loop.symlink_to(loop)
    return dataclasses.replace(clip, source=loop)


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
        ({"rgb": {"naming": "recipe"}}, False),
        ({"rgb": {"max_frames": 5}}, False),
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


# --- selection and the end ---


def test_a_selection_of_nothing_is_refused():
    with pytest.raises(SourceError, match="/videos: no clips found"):
        stages.selection([], "/videos")


def test_shards_hold_every_clip_once(clips):
    selection = stages.selection(clips, "here")
    assert selection.labels == ("walk",)
    for size in (1, 2, 3, 64):
        shards = stages.shards(selection.clips, size)
        assert [clip for shard in shards for clip in shard] == clips
        assert {len(shard) for shard in shards[:-1]} <= {size}


def test_a_manifest_is_not_written_before_every_clip_has_a_record(clips, store):
    shard(clips[:2], store)
    with pytest.raises(OutputError, match="'walk/c' has no record: run the build again"):
        stages.write_manifest(settings(), stages.selection(clips, "here"), RECIPE, store)
    assert not store.manifest.exists()


def test_outcomes_count_all_of_them():
    assert stages.outcomes([]) == {"done": 0, "filtered": 0, "quarantined": 0, "failed": 0}


# --- a few clips per class ---

LISTED = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["train", "val", None]), st.integers(0, 400)),
    unique_by=lambda row: (row[0], row[2]),
    max_size=80,
)


def listed(rows: list[tuple[str | None, str | None, int]]) -> list[Clip]:
    return [Clip("test", f"{label}/{number:03d}", label, subset=subset) for label, subset, number in rows]


@given(LISTED, st.integers(1, 90), st.randoms(use_true_random=False))
def test_thinned_out_clips_are_as_many_as_asked_for_and_do_not_depend_on_the_order(rows, most, chance):
    clips = listed(rows)
    taken = stages.thin_out(clips, most)
    assert set(taken) <= set(clips)
    assert [clip.key for clip in taken] == sorted({clip.key for clip in taken})
    sizes = Counter((clip.label, clip.subset) for clip in clips)
    assert Counter((clip.label, clip.subset) for clip in taken) == {
        group: min(size, most) for group, size in sizes.items()
    }
    chance.shuffle(clips)
    assert stages.thin_out(clips, most) == taken
    assert stages.thin_out(taken, most) == taken


@given(st.integers(1, 300), st.integers(1, 40))
def test_thinned_out_clips_are_spread_over_all(size, most):
    clips = listed([("a", "train", number) for number in range(size)])
    places = [int(clip.key[2:]) for clip in stages.thin_out(clips, most)]
    steps = {after - before for before, after in itertools.pairwise([*places, size])}
    assert places[0] == 0
    assert max(steps) - min(steps) <= 1  # one after the other at equal distances, as whole numbers allow


@given(LISTED, st.integers(1, 90))
def test_thinning_out_one_class_does_not_depend_on_the_others(rows, most):
    clips = listed(rows)
    own = [clip for clip in clips if clip.label == "a"]
    assert [clip for clip in stages.thin_out(clips, most) if clip.label == "a"] == stages.thin_out(own, most)


def test_nothing_is_thinned_out_where_no_number_is_set():
    clips = listed([("b", None, 1), ("a", None, 2)])
    assert stages.thin_out(clips, None) == clips
    assert stages.thin_out([], 3) == []
