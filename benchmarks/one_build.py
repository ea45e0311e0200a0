"""One build for ``benchmarks.orchestration``, in a process of its own: ``one_build plain|flow real|SECONDS CONFIG``."""

# Worker processes import this file, so that everything which only the parent needs is imported where it is used.
from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from araflow.build.pool import WorkerPool
    from araflow.build.recipe import Recipe
    from araflow.core.clip import Clip, ClipRecord
    from araflow.core.spec import RunSpec
    from araflow.store.store import Store


@dataclass(frozen=True)
class Spent:
    """What a build took, from its process's first import to its end.

    Attributes:
        wall: Seconds.
        cpu: CPU seconds of the process itself.
        workers: CPU seconds of its worker processes.
        peak: Largest resident memory of the process, in MB.
        counts: Clips by outcome.
    """

    wall: float
    cpu: float
    workers: float
    peak: float
    counts: dict[str, int]


def one(kind: str, work: str, config: str) -> None:
    """Build in this process, and print as JSON what it took.

    Args:
        kind: ``plain`` or ``flow``.
        work: ``real``, or how many seconds a clip takes in which nothing is done.
        config: A file.
    """
    start = time.monotonic()
    from araflow.build.resolved import resolve
    from araflow.core import spec_file

    resolved = resolve(spec_file.load(config))
    if work != "real":
        do_no_work(float(work))
    if kind == "flow":
        from flows.server import history

        with history.kept():
            from flows.build import run

            counts = run(resolved, config, []).counts
    else:
        from araflow.build.run import carry_out
        from araflow.report.contact_sheet import write_contact_sheet

        counts = dict(carry_out(resolved, on_manifest=write_contact_sheet).outcomes())
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, workers = (usage.ru_utime + usage.ru_stime for usage in (own, children))
    wall = time.monotonic() - start
    from benchmarks import served  # now, so that neither build is charged for what only the benchmark needs

    print(json.dumps(asdict(Spent(wall, cpu, workers, served.peak(os.getpid()), counts))))


def do_no_work(pause: float) -> None:
    """Replace the making of clips, and the reading of their records, in this process.

    Args:
        pause: Seconds that a clip takes.
    """
    from araflow.build import shards, stages
    from araflow.core.clip import ClipRecord, Outcome

    kept: dict[str, ClipRecord] = {}

    def make(
        clips: Sequence[Clip],
        recipe: Recipe,
        store: Store,
        pool: WorkerPool,
        run: RunSpec,
        on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
    ) -> list[ClipRecord]:
        fingerprint = recipe.fingerprint
        records = [ClipRecord(c.key, Outcome.QUARANTINED, "missing", fingerprint=fingerprint) for c in clips]
        for record in records:
            if pause:
                time.sleep(pause)
            kept[record.key] = record
            on_record(record, True)
        return records

    shards.extract_shard = make
    stages.collect = lambda clips, fingerprint, store: [kept[clip.key] for clip in clips]


if __name__ == "__main__":
    one(*sys.argv[1:])
