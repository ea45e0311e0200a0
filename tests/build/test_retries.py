"""What failed is tried again, what is quarantined is not, and a stopped run does not wait."""

import threading
from collections import Counter
from pathlib import Path

import pytest

from araflow.build import retries, stages
from araflow.build.pool import WorkerPool
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import PoolClosedError
from araflow.core.spec import RunSpec
from araflow.store.store import Store

CLIPS = [Clip("test", f"walk/{name}", "walk") for name in "abcd"]
ANSWERS = {
    "walk/a": [(Outcome.DONE, "complete")],
    "walk/b": [(Outcome.FAILED, "io-error: gone"), (Outcome.FAILED, "error: odd"), (Outcome.DONE, "complete")],
    "walk/c": [(Outcome.QUARANTINED, "truncated: cut")],
    "walk/d": [(Outcome.FAILED, "timeout: too long")],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each clip was tried, with the answers above, the last one for ever."""
    seen: Counter[str] = Counter()

    def extract(clips, recipe, store, pool, run, on_record):
        records = []
        for clip in clips:
            answers = ANSWERS[clip.key]
            outcome, reason = answers[min(seen[clip.key], len(answers) - 1)]
            seen[clip.key] += 1
            records.append(ClipRecord(clip.key, outcome, reason))
            on_record(records[-1], True)
        return records

    monkeypatch.setattr(stages, "extract_shard", extract)
    return seen


def extract(pool: WorkerPool, number: int) -> tuple[dict[str, str], list[str]]:
    settled: list[str] = []
    run = RunSpec.model_validate({"retries": number})
    records = retries.extract_shard(
        CLIPS,
        None,
        Store(Path()),
        pool,
        run,
        lambda record, made: settled.append(record.key),  # type: ignore[arg-type]
    )
    return {record.key: record.reason for record in records}, settled


@pytest.mark.parametrize(
    ("number", "reason", "tries"),
    [(0, "io-error: gone", 1), (1, "error: odd", 2), (2, "complete", 3), (9, "complete", 3)],
)
def test_only_what_failed_is_tried_again(asked: Counter[str], monkeypatch, number: int, reason: str, tries: int):
    pauses: list[float] = []
    with WorkerPool(1) as pool:
        monkeypatch.setattr(pool, "pause", pauses.append)
        records, settled = extract(pool, number)
    assert records == {
        "walk/a": "complete",
        "walk/b": reason,
        "walk/c": "truncated: cut",
        "walk/d": "timeout: too long",
    }
    assert asked == {"walk/a": 1, "walk/b": tries, "walk/c": 1, "walk/d": 1}
    assert sorted(settled) == sorted(records)
    assert pauses == [5.0, 25.0, 125.0][: tries - 1]


def test_a_run_that_is_stopped_does_not_wait_for_the_next_try(asked: Counter[str]):
    pool = WorkerPool(1)
    threading.Timer(0.2, pool.close).start()
    with pytest.raises(PoolClosedError):
        extract(pool, 9)
    assert asked["walk/b"] == 1
