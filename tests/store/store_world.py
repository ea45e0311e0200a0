"""A clip of three frames, made and found wanting in short, for tests of outputs wherever they lie."""

import dataclasses
from pathlib import Path

from araflow.core.clip import ClipRecord, Outcome
from araflow.store.draft import ClipDraft
from araflow.store.layout import stem
from araflow.store.store import Store

KEY = "walk/one two #1"


def record(key: str = KEY, fingerprint: str = "first", **fields: object) -> ClipRecord:
    made = ClipRecord(key, Outcome.DONE, "complete", source_sha256="ab" * 32, frames=3, flows=2)
    made = dataclasses.replace(made, fingerprint=fingerprint, width=4, height=4)
    made = dataclasses.replace(made, rgb_bytes=3 * len("frame 0"), flow_bytes=4 * len(f"u 0 {fingerprint}"))
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def bad(key: str = KEY, fingerprint: str = "first", **fields: object) -> ClipRecord:
    found = {"outcome": Outcome.QUARANTINED, "reason": "truncated: cut", "frames": 1, "flows": 0}
    return record(key, fingerprint, **{**found, **fields})


def fill(draft: ClipDraft, made: ClipRecord, *, keep_rgb: bool = False) -> None:
    """Write three frames whose content says which settings made them."""
    for index in range(3):
        name = stem("card", index, 3)
        if not keep_rgb:
            draft.write("rgb", f"{name}.png", f"frame {index}".encode())
        if index < 2:
            for kind in ("u", "v"):
                draft.write(kind, f"{name}.jpg", f"{kind} {index} {made.fingerprint}".encode())


def make(store: Store, made: ClipRecord, *, keep_rgb: bool = False) -> None:
    draft = store.begin()
    try:
        fill(draft, made, keep_rgb=keep_rgb)
        store.commit(draft, made, keep_rgb=keep_rgb)
    finally:
        draft.discard()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


class Killed(BaseException):
    """Stands in for the end of the process at one exact point."""
