"""What a run shows in the Prefect UI: progress, tables, pictures, links. None of it can fail a run."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from araflow.core.clip import Outcome
from araflow.core.screen import as_markdown
from araflow.core.screen import shown as shown_text
from araflow.core.spec import BuildSpec
from araflow.core.tally import UNKNOWN
from araflow.core.telling import Meter
from araflow.core.words import counted
from araflow.store import summary
from araflow.store.layout import CONTACT_SHEET
from araflow.store.manifest import Manifest
from flows.server import history

log = logging.getLogger("araflow.flows")
_SECONDS_BETWEEN = 2.0
"""Between two updates of the progress bar, each of which is a request and an event."""
_MOST_ROWS = 500
"""Of the table of quarantined clips; the manifest has them all."""
_P = ParamSpec("_P")


def shown(create: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> object | None:
    """Create an artifact; where the server does not take it, say so and go on.

    A server of the command's own that fails so, as with a full disk, is given up: nothing would come of its history.
    """
    try:
        return create(*args, **kwargs)
    except (httpx.HTTPError, OSError) as error:
        if not history.is_shared() and isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error:
            history.start_again()
        log.warning("the server took no artifact %s: %s", kwargs.get("key", ""), error)
        return None


def name_run(name: str) -> None:
    """Give the run another name, now that more is known of it."""
    context = FlowRunContext.get()
    name = shown_text(name)
    if context is None or context.flow_run is None or context.flow_run.name == name:
        return
    with get_client(sync_client=True) as client:
        shown(client.update_flow_run, flow_run_id=context.flow_run.id, name=name)


class Progress:
    """The live artifact ``progress``: how many of the listed clips are settled.

    Args:
        listed: Number of clips.
        meter: Shows the same.
    """

    def __init__(self, listed: int, meter: Meter) -> None:
        self._meter = meter
        meter.begin(listed)
        self._listed, self._seen, self._last = listed, 0, time.monotonic()
        self._lock = threading.Lock()
        made = shown(create_progress_artifact, progress=0.0, key="progress", description=self._text())
        self._id = made if isinstance(made, UUID) else None

    def _text(self) -> str:
        return f"{self._seen:,} of {counted(self._listed, 'clip')}"

    def advance(self, clips: int) -> None:
        """Count clips that are settled. Safe to call from several threads."""
        self._meter.advance(clips)
        with self._lock:
            self._seen += clips
            now = time.monotonic()
            if self._id is None or (now - self._last < _SECONDS_BETWEEN and self._seen < self._listed):
                return
            self._last = now
        share = 100.0 * min(1.0, self._seen / self._listed)
        shown(update_progress_artifact, artifact_id=self._id, progress=share, description=self._text())


def manifest(written: Manifest, spec: BuildSpec) -> None:
    """Show where the manifest lies, what it comes from, its picture, and the clips that are not done."""
    folder = spec.out if "://" in spec.out else str(Path(spec.out).absolute())
    shown(
        create_markdown_artifact,  # as text: no browser opens what lies on another machine's disk
        markdown=f"{as_markdown(f'{folder}/manifest.parquet')}\n",
        key="manifest",
        description="One row per listed clip. Read it with araflow manifest show, pandas or pyarrow.",
    )
    shown(
        create_markdown_artifact, markdown=lineage(written), key="lineage", description="What the manifest comes from."
    )
    bad = written.select(outcome=[Outcome.QUARANTINED, Outcome.FAILED])
    if len(bad):
        more = f" The first {_MOST_ROWS} of {len(bad)}; the manifest has all." if len(bad) > _MOST_ROWS else ""
        names = ("key", "outcome", "reason")
        rows = itertools.islice(bad.columns(*names), _MOST_ROWS)
        shown(
            create_table_artifact,
            table=_cells(dict(zip(names, row, strict=True)) for row in rows),
            key="quarantined",
            description=f"Clips that are not done, with the reason.{more}",
        )


def outcomes(written: Manifest) -> None:
    """Show the counts by class, outcome and split; their sum above the table, where it can be no class."""
    by_class = summary.by_class(written)
    total = ", ".join(f"{count:,} {name}" for name, count in by_class.total.items() if count)
    shown(
        create_table_artifact,
        table=_cells(by_class.classes),
        key="outcomes",
        description=f"Clips of {as_markdown(str(written.folder))} by class, outcome and split; in all: {total}. "
        "Leaked: test clips whose source title, or bytes, are also in training; unknown where no group tells.",
    )


def _cells(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as Prefect's UI takes them: it reads every text in a table as Markdown."""
    told = ({name: UNKNOWN if cell is None else cell for name, cell in row.items()} for row in rows)
    return [{name: as_markdown(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in told]


def markdown(text: str, key: str, description: str) -> None:
    """Show a page."""
    shown(create_markdown_artifact, markdown=text, key=key, description=description)


def picture(file: Path, key: str, description: str) -> None:
    """Show a JPEG or PNG file; it travels inside the artifact, so that a browser elsewhere sees it."""
    if not file.is_file():
        return
    kind = "png" if file.suffix == ".png" else "jpeg"
    data = base64.b64encode(file.read_bytes()).decode()
    shown(create_image_artifact, image_url=f"data:image/{kind};base64,{data}", key=key, description=description)


def contact_sheet(folder: Path) -> None:
    """Show one clip per class."""
    text = "One clip per class: frames, and the optical flow from each to the next as colour."
    picture(folder / CONTACT_SHEET, "contact-sheet", text)


def lineage(written: Manifest) -> str:
    """Say in Markdown what a manifest comes from: source, settings, versions, fingerprints of the clips."""
    known: dict[str, Any] = written.metadata
    prints = sorted({one for (one,) in written.columns("fingerprint") if one})
    lines = [
        f"# {as_markdown(written.name)}",
        "",
        f"- **clips**: {summary.last_line(written, 0, 0.0).partition(';')[0]}",
        f"- **software**: {as_markdown(str(known.get('software')))}",
        f"- **recipe fingerprints**: {', '.join(f'`{one}`' for one in prints) or 'none'}",
        "",
        "The manifest's own metadata says the same.",
    ]
    for title in ("dataset", "spec"):
        content = json.dumps(known.get(title), indent=2, ensure_ascii=False)
        lines += ["", f"## {'Source' if title == 'dataset' else 'Settings'}", "", "```json", shown_text(content), "```"]
    return "\n".join(lines)
