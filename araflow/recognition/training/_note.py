"""A run's note, ``run.json``: which training a folder holds, and whether it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from araflow.core import written
from araflow.core.errors import OutputError
from araflow.core.reading import SMALL, read_file
from araflow.recognition.experiment import Prepared
from araflow.recognition.flow_storage import FlowStorage


class Note(BaseModel):
    """What is read of it."""

    identity: dict[str, Any]
    finished: Annotated[int, Field(ge=0)]
    flow: FlowStorage | None = None


def read(file: Path) -> Note | None:
    """Return the note; ``None`` where there is none.

    Raises:
        OutputError: It cannot be read, or is not araflow's.
    """
    try:
        return Note.model_validate_json(read_file(file, SMALL))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not araflow's"
        raise OutputError(f"{file}: {why}; remove the folder, or choose another out") from None


def write(prepared: Prepared, identity: dict[str, Any], finished: int) -> None:
    """Write the note of a training that has so far ``finished`` epochs; 0: it has not ended."""
    content = {
        "identity": identity,
        "finished": finished,
        "spec": prepared.spec.model_dump(mode="json"),
        **({"chosen": list(prepared.chosen)} if prepared.chosen else {}),
        "software": prepared.model.software,
        "flow": prepared.model.flow and prepared.model.flow.model_dump(mode="json"),
    }
    written.write_json(prepared.out / "run.json", content)


def differences(known: Note, prepared: Prepared, identity: dict[str, Any]) -> list[str]:
    """Say in what an experiment is another one than that of the note."""
    return [*_other_flow(known.flow, prepared.model.flow), *_differences(known.identity, identity)]


def _other_flow(before: FlowStorage | None, now: FlowStorage | None) -> list[str]:
    """Say how the flow differs that a training began with: a digest of the manifest says no more."""
    found = before.differs(now) if before is not None and now is not None else None
    lines = () if found is None else (*found.wrong, *found.lesser)
    return [f"flow: {before} there, {now} now: {', '.join(lines)}"] if lines else []


def _differences(old: Any, new: Any, path: str = "") -> list[str]:  # noqa: ANN401 - JSON
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old} there, {new} now"]
