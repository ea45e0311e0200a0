"""What an output is being built from: a note that a build leaves as soon as its clips are listed.

``araflow status`` knows from it how many clips there will be, ``araflow retry`` how to run the same build again, from
any working directory, and ``araflow clean`` what belongs to it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from pydantic import AfterValidator

from araflow.core import signature, spec_file
from araflow.core.addresses import local
from araflow.core.errors import OutputError, SpecError
from araflow.core.files import STATE
from araflow.core.keys import shown, why_not
from araflow.core.reading import json_of, problem_of
from araflow.core.spec import BuildSpec
from araflow.core.tally import NO_CLASS

if TYPE_CHECKING:
    from araflow.build.selection import Selection
    from araflow.core.clip import Clip
    from araflow.store.store import Store

NAME = "build.json"
"""Below the output's hidden folder."""


@dataclasses.dataclass(frozen=True, slots=True)
class BuildNote:
    """What a build is made from.

    Attributes:
        spec: All its settings, with paths from the root; ``spec_file.parse`` reads them.
        source: Path of the video, folder or manifest of ``araflow flow SOURCE``; ``None`` takes ``dataset.source``.
        plain: It ran without Prefect.
        begun: When its clips were listed, in UTC, ISO 8601.
        fingerprint: The recipe's fingerprint, which the proofs of its clips carry.
        label_of: Key of each listed clip, sorted, to its class.
        sources: The folders beside the note that hold videos of listed clips, by name; ``None`` where no clip has one.
    """

    spec: dict[str, Any]
    source: str | None
    plain: bool
    begun: str
    fingerprint: str
    label_of: dict[str, str | None]
    sources: tuple[str, ...] | None


def _moment(text: str) -> str:
    try:
        datetime.datetime.fromisoformat(text).timestamp()
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return text


def _key(text: str) -> str:
    if why := why_not(text):
        raise ValueError(f"key {shown(text)} {why}")
    return text


class UnreadableNoteError(OutputError):
    """There is a note, but what it says cannot be; a build writes it anew."""


class _Dataset(pydantic.BaseModel, extra="allow", strict=True):
    source: str | None
    splits: str | None


class _Settings(pydantic.BaseModel, extra="allow", strict=True):
    """What is looked at before ``spec_file.parse`` reads all of them."""

    out: str
    dataset: _Dataset


class _Content(pydantic.BaseModel, strict=True):
    """What of it is read again. A note may have come with a dataset from anybody."""

    spec: _Settings
    source: str | None
    plain: bool
    begun: Annotated[str, AfterValidator(_moment)]
    fingerprint: str
    sources: list[str] | None
    keys: list[Annotated[str, AfterValidator(_key)]]
    labels: list[str | None]


def write(
    store: Store,
    spec: BuildSpec,
    recipe_fingerprint: str,
    selection: Selection,
    source: Path | None = None,
    *,
    plain: bool = False,
) -> None:
    """Leave the note. Call it when the clips are listed, and the output is held.

    Args:
        store: The output.
        spec: Settings of the build; relative paths in it are taken from the working directory.
        recipe_fingerprint: ``Recipe.fingerprint``.
        selection: The clips.
        source: What ``araflow flow`` was given instead of ``spec.dataset``.
        plain: The build runs without Prefect.

    Raises:
        OutputError: It cannot be written.
    """
    clips = sorted(selection.clips, key=lambda clip: clip.key)
    counts = Counter(clip.label or NO_CLASS for clip in clips)
    content = {
        "spec": from_the_root(spec.model_dump(mode="json")),
        "source": None if source is None else str(source.expanduser().absolute()),
        "accept_licence": False,  # what an older araflow looks for: nobody consents by a file
        "plain": plain,
        "begun": datetime.datetime.now(datetime.UTC).isoformat(),
        "fingerprint": recipe_fingerprint,
        "listed": len(clips),
        "by_class": {label: counts[label] for label in (*selection.labels, NO_CLASS) if counts[label]},
        "sources": _folders_beside(store, clips),
        "keys": [clip.key for clip in clips],
        "labels": [clip.label for clip in clips],
    }
    content["signature"] = signature.sign(_signed(content))
    store.write_state(NAME, json.dumps(content, indent=1).encode())


def is_own(store: Store) -> bool:
    """Whether this user's araflow wrote the note, so that what it says is the user's own word.

    Raises:
        OutputError: It cannot be read.
    """
    try:
        content = json_of(store.read_state(NAME) or b"null")
        return signature.is_own(_signed(content), content.pop("signature", None))
    except (ValueError, AttributeError):
        return False


def _signed(content: Mapping[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in content.items() if name != "signature"}, sort_keys=True).encode()


def read(store: Store) -> BuildNote | None:
    """Return the note; ``None`` where there is none: no clips are listed yet, or an older araflow was here.

    Raises:
        UnreadableNoteError: There is one, but it says what cannot be.
        OutputError: It cannot be read.
    """
    found = store.read_state(NAME)
    if found is None:
        return None
    try:
        # Not by Pydantic alone, which refuses the names of files that are not UTF-8.
        content = _Content.model_validate(json_of(found)).model_dump()
        keys = content.pop("keys")
        label_of = dict(zip(keys, content.pop("labels"), strict=True))
        if len(label_of) < len(keys):
            raise ValueError("a key is there twice")
    except ValueError as error:
        raise UnreadableNoteError(
            f"{store.out}: its note of what was built ({STATE}/{NAME}) cannot be read ({problem_of(error)})"
        ) from error
    sources = content.pop("sources")
    return BuildNote(**content, label_of=label_of, sources=None if sources is None else tuple(sources))


def settings(note: BuildNote, out: str, overrides: Sequence[str] = ()) -> BuildSpec:
    """Return the settings of the build that left a note, for its output as it is found now.

    Args:
        note: The note.
        out: The output.
        overrides: See ``spec_file.override``; such as an address again, of which a note keeps no secrets.

    Raises:
        SpecError: This araflow does not know them, or an override would change what is made.
    """
    origin = f"the settings that {out} was built with"
    spec = spec_file.parse({**note.spec, "out": _absolute(out)}, origin)
    tree = spec_file.override(spec.model_dump(), overrides, BuildSpec)
    given = spec_file.parse(tree, f"{origin}, with overrides")
    if given.fingerprint() != spec.fingerprint():
        raise SpecError(f"{', '.join(overrides)}: would change what is made; use araflow build")
    return given


def from_the_root(tree: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of a build as a note keeps them: with paths from the root."""
    tree["out"] = _absolute(tree["out"])
    for name in ("source", "splits", "folder"):
        if tree["dataset"][name] is not None:
            tree["dataset"][name] = _absolute(tree["dataset"][name])
    return tree


def _absolute(text: str) -> str:
    """Leave an address as it is."""
    text = local(text)
    return text if "://" in text else str(Path(text).expanduser().absolute())


def _folders_beside(store: Store, clips: Iterable[Clip]) -> list[str] | None:
    """Name what was drawn or unpacked for these clips; the manifest of another output is no such thing."""
    paths = [clip.source for clip in clips if clip.source is not None]
    if not paths:
        return None
    state = Path(store.state).absolute()
    below = (path.absolute() for path in paths)
    return sorted({path.relative_to(state).parts[0] for path in below if path.is_relative_to(state)})
