"""Trying again what failed: which clips, and how to run the build of an output again with its own settings."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

from araflow.build.note import BuildNote
from araflow.build.outputs import Entry, Output
from araflow.core import spec_file
from araflow.core.clip import Outcome
from araflow.core.errors import SpecError
from araflow.core.spec import BuildSpec
from araflow.core.tally import NO_CLASS
from araflow.core.words import counted
from araflow.store.store import Store

log = logging.getLogger(__name__)


def choose(
    seen: Output, outcome: Outcome = Outcome.FAILED, label: str | None = None, code: str | None = None
) -> list[Entry]:
    """Return the clips of one outcome, and of a class and a reason code where these are given."""
    return [
        entry
        for entry in seen.entries or ()
        if entry.outcome is outcome
        and (label is None or (entry.label or NO_CLASS) == label)
        and code in (None, entry.reason_code)
    ]


def forget(store: Store, entries: list[Entry]) -> None:
    """Forget why clips were not made, so that the next run makes them, whatever it was.

    Raises:
        OutputError: A run is at work, or the folder cannot be written to.
    """
    with store.locked() as held:
        for entry in entries:
            held.remove_record(entry.key)


def announced(chosen: list[Entry], left: int) -> str:
    """Say in one line what a retry is about to do: clips that are tried again, and those that were never begun."""
    codes = Counter(entry.reason_code for entry in chosen)
    why = f" ({', '.join(f'{number:,} {code}' for code, number in sorted(codes.items()))})" if codes else ""
    return f"trying again {counted(len(chosen), 'clip')}{why}" + (f"; {left:,} were left" if left else "")


def with_scheduler(spec: BuildSpec, address: str | None, *, trusted: bool) -> BuildSpec:
    """Return the settings with the Dask scheduler that the user names, or that of a note that is the user's own.

    Args:
        spec: Settings of a note.
        address: What the user names.
        trusted: The user's araflow wrote the note; else clips are made on this machine instead.
    """
    if address is not None:
        run: dict[str, str | None] = {"engine": "dask", "dask_address": address}
    elif trusted:
        return spec
    else:
        run = {"engine": "local" if spec.run.engine == "dask" else spec.run.engine, "dask_address": None}
    return spec.model_copy(update={"run": spec.run.model_copy(update=run)})


def wanted(note: BuildNote, spec: BuildSpec) -> list[str]:
    """Say what running a note's build would read, fetch and write, a line for each."""
    dataset, lines = spec.dataset, []
    given = [note.source] if note.source is not None else [dataset.source, dataset.splits]
    lines += [f"{'download' if '://' in one else 'read'} {one}" for one in given if one is not None]
    if note.source is None:
        if dataset.source is None:
            lines.append(f"make the dataset {dataset.name}, downloaded unless it is there")
        lines += [f"keep downloads in {dataset.folder}"] if dataset.folder is not None else []
        lines += [f"download from {dataset.mirror} alone"] if dataset.mirror is not None else []
        lines += ["ask YouTube for clips"] if dataset.youtube else []
    where = {"workers": "by the machines of the Prefect work pool", "dask": f"on {spec.run.dask_address}"}
    return [*lines, f"make clips {where.get(spec.run.engine, 'on this machine')}, and write them to {spec.out}"]


def arguments(spec: BuildSpec) -> tuple[str, list[str]]:
    """Return a shipped configuration and the overrides that make it these settings, for a flow that takes both.

    Raises:
        SpecError: No configuration can be made to say the same.
    """
    wanted = _leaves(spec.model_dump())
    for config in (spec.name, spec.dataset.name, "folder"):
        try:
            there = _leaves(spec_file.load(config).model_dump())
            overrides = [f"{key}={_text(value)}" for key, value in wanted.items() if there[key] != value]
            if spec_file.load(config, overrides) == spec:
                return config, overrides
        except SpecError:
            continue  # a build of the user's own has a name that is no configuration's
    raise SpecError(f"{spec.name}: its settings cannot be given as overrides; run its araflow build again")


def _leaves(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _leaves(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
