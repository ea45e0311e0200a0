"""Try again what failed: clips whose surroundings were at fault, not those that are bad themselves."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from araflow.build import stages
from araflow.build.extract import Recipe
from araflow.build.pool import WorkerPool
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.spec import RunSpec
from araflow.store.store import Store

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGER = 5.0, 5.0
"""Seconds before the first retry, and the factor from one pause to the next."""


def extract_shard(
    clips: Sequence[Clip],
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    run: RunSpec,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
) -> list[ClipRecord]:
    """Make the clips of one shard as ``stages.extract_shard`` does; try those that fail ``run.retries`` times more.

    A clip that took too long is not tried again: it would take as long. The next run tries it.

    Args:
        clips: See there.
        recipe: See there.
        store: See there.
        pool: See there.
        run: See there.
        on_record: Called once for each clip, when it is settled.

    Returns:
        One record per clip, in the order of their keys.

    Raises:
        OutputError: Nothing more can be written.
        SourceError: A clip is bad and ``run.on_error`` is ``stop``.
        PoolClosedError: The run is being stopped.
    """
    settled: list[ClipRecord] = []
    pause = _FIRST_PAUSE
    for left in reversed(range(run.retries + 1)):
        failed: list[ClipRecord] = []

        def sift(record: ClipRecord, made: bool, left: int = left, failed: list[ClipRecord] = failed) -> None:
            if left and _may_pass(record):
                failed.append(record)
            else:
                settled.append(record)
                on_record(record, made)

        stages.extract_shard(clips, recipe, store, pool, run, sift)
        if not failed:
            break
        codes = ", ".join(f"{number} {code}" for code, number in Counter(one.reason_code for one in failed).items())
        log.warning(
            "%d clips failed (%s), such as %s: %s; again in %.0f s",
            len(failed),
            codes,
            failed[0].key,
            failed[0].reason,
            pause,
        )
        pool.pause(pause)
        pause *= _LONGER
        again = {record.key for record in failed}
        clips = [clip for clip in clips if clip.key in again]
    return sorted(settled, key=lambda record: record.key)


def _may_pass(record: ClipRecord) -> bool:
    return record.outcome is Outcome.FAILED and record.reason_code != "timeout"
