"""Shards that are made in another process than the build that asked for them, maybe on another machine.

Such a process does not hear when that build ends. It looks for the build's session in the output every few seconds;
when that is gone, its worker processes end, and with them the shard.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

from araflow.build.pool import WorkerPool
from araflow.build.recipe import Recipe
from araflow.core.clip import Attributes, Clip
from araflow.core.errors import OutputError
from araflow.core.spec import BuildSpec
from araflow.media.frame_form import FrameForm
from araflow.store.store import Store

_SECONDS_BETWEEN_LOOKS = 2.0
_lock = threading.Lock()
_pools: dict[str, WorkerPool] = {}


def pool_for(store: Store, parent: str, workers: int | None) -> WorkerPool:
    """Return this process's worker processes for a build, which all its shards here share.

    Args:
        store: The output.
        parent: The session of the build that asked.
        workers: Number of processes; ``None`` takes one per usable core.
    """
    with _lock:
        if parent not in _pools:
            _pools[parent] = WorkerPool(workers)
            threading.Thread(target=_end_with, args=(store, parent), name="araflow-watch", daemon=True).start()
        return _pools[parent]


def _end_with(store: Store, parent: str) -> None:
    pause = threading.Event()
    while _lives(store, parent):
        pause.wait(_SECONDS_BETWEEN_LOOKS)
    with _lock:
        pool = _pools.pop(parent)
    pool.close()


def _lives(store: Store, parent: str) -> bool:
    try:
        return store.is_live(parent)
    except OutputError:  # nothing can be known while the storage does not answer
        return True


def everywhere(spec: BuildSpec) -> BuildSpec:
    """Return the settings with the output as every machine finds it: an address as it is, a path from the root."""
    return spec if "://" in spec.out else spec.model_copy(update={"out": str(Path(spec.out).absolute())})


def pack(clips: tuple[Clip, ...], spec: BuildSpec, recipe: Recipe) -> bytes:
    """Return a part of a build for another machine, with all paths as every machine finds them.

    As JSON, which neither Prefect nor Dask looks into, and which another version of Python reads.
    """
    content = {
        "spec": everywhere(spec).model_dump(mode="json"),
        "recipe": dataclasses.asdict(recipe),
        "clips": [dataclasses.asdict(clip) for clip in clips],
    }
    return json.dumps(content, default=lambda path: str(path.absolute())).encode()


def unpack(data: bytes) -> tuple[BuildSpec, Recipe, tuple[Clip, ...]]:
    """Return what was packed."""
    content: dict[str, Any] = json.loads(data)
    clips = []
    for row in content["clips"]:
        row["attributes"] = Attributes(**row["attributes"])
        row["folds"] = tuple(row["folds"])
        row["source"] = None if row["source"] is None else Path(row["source"])
        clips.append(Clip(**row))
    row = content["recipe"]
    recipe = Recipe(**row | {"frames": FrameForm(**row["frames"]), "also": tuple(row["also"])})
    return BuildSpec.model_validate(content["spec"]), recipe, tuple(clips)
