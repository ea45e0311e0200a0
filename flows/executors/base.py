"""What executors have in common: how clips are handed to them, and the task that makes those of a shard."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from araflow.build import shards
from araflow.build.pool import WorkerPool
from araflow.build.recipe import Recipe
from araflow.core import telling
from araflow.core.clip import Clip, ClipRecord
from araflow.core.spec import RunSpec
from araflow.store.store import Store
from flows.states import StageResult, without_traceback

log = logging.getLogger("araflow.flows")
SHARDS_AT_ONCE = 2
"""The next shard hashes its sources while the last clips of this one are still decoding."""
_SECONDS_OF_SILENCE = 60.0
"""A shard of slow optical flow takes an hour; it says how far it is at this interval."""
Future = PrefectFuture[StageResult]


@dataclasses.dataclass(slots=True)
class Executor:
    """Hands clips to those who make them. Leaving its context with an error stops what has begun.

    Attributes:
        submit: Begins to make some clips, given their number among all, the clips, and the tasks that they come from.
        part_size: How many clips are handed over at once.
        counts_clips: It calls ``on_clip`` for each clip.
        explain: Returns what a future's error means to the user, where it is none of araflow's own.
        begun: All that has been submitted.
    """

    submit: Callable[[int, tuple[Clip, ...], Sequence[PrefectFuture[Any]]], Future]
    part_size: int
    counts_clips: bool = False
    explain: Callable[[Exception], Exception] = lambda error: error
    begun: list[Future] = dataclasses.field(default_factory=list)

    def extract(self, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]) -> list[Future]:
        """Begin to make clips.

        Args:
            clips: They lie where every machine sees them.
            after: The tasks that they come from, which the graph shows.

        Returns:
            A future for each part that they were cut into.
        """
        first = len(self.begun)
        for part in shards.shards(clips, self.part_size):
            self.begun.append(self.submit(len(self.begun), part, after))
        return self.begun[first:]


@task(name="extract", task_run_name="extract-shard-{shard:04d}", cache_policy=NO_CACHE)
@without_traceback
def extract(
    shard: int,
    clips: tuple[Clip, ...],
    run: RunSpec,
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    on_clip: Callable[[int], None] = lambda clips: None,
) -> StageResult:
    """Make the clips of one shard, in worker processes that all shards share."""
    return extract_now(f"shard {shard}", clips, run, recipe, store, pool, on_clip)


def extract_now(
    name: str,
    clips: tuple[Clip, ...],
    run: RunSpec,
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    on_clip: Callable[[int], None] = lambda clips: None,
) -> StageResult:
    """Make the clips of one shard, and say so in a line.

    Args:
        name: What the line calls it.
        clips: The shard.
        run: Settings.
        recipe: How.
        store: Where; bound to a session.
        pool: Worker processes.
        on_clip: Called with the number of clips that have been settled since the last call.
    """
    start = last = time.monotonic()
    made = seen = 0
    about = {"shard": name, **telling.DETAIL}

    def count(record: ClipRecord, worked_on: bool) -> None:
        nonlocal made, seen, last
        made, seen = made + worked_on, seen + 1
        on_clip(1)
        if time.monotonic() - last > _SECONDS_OF_SILENCE:
            last = time.monotonic()
            log.info("%s: %d of %d clips", name, seen, len(clips), extra=about)

    records = shards.extract_shard(clips, recipe, store, pool, run, count)
    seconds = time.monotonic() - start
    counts = shards.outcomes(records)
    shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    log.info("%s: %s (%d worked on, %.1f s)", name, shown, made, seconds, extra=about)
    return StageResult("extract", dict(counts), made, seconds)
