"""Whether an output holds clips that are none of a build's, so that the build would replace their manifest."""

from __future__ import annotations

from collections.abc import Iterable

from araflow import datasets
from araflow.build import outputs
from araflow.build.outputs import State
from araflow.build.resolved import ResolvedBuild
from araflow.core import resources
from araflow.core.clip import Clip
from araflow.core.errors import OutputError
from araflow.store.address import open_store
from araflow.store.store import Store


def check(store: Store, state: State, clips: Iterable[Clip]) -> None:
    """Refuse an output with none of the clips but others.

    Raises:
        OutputError: The manifest there, or the note of a build that wrote none, shares no clip with these.
    """
    there = _keys(state)
    if there and there.isdisjoint(clip.key for clip in clips):
        raise _refusal(store, there)


def check_before_fetching(build: ResolvedBuild) -> None:
    """Refuse, before anything is fetched, an output of a dataset that cannot have a clip of this one.

    What users gave, in this build or in that, may be anything: then the clips are listed first.

    Raises:
        OutputError: As ``check``, or what lies there cannot be read.
    """
    dataset, wanted = build.dataset, build.spec.dataset
    if dataset is None or wanted.source is not None:
        return
    store = open_store(build.spec.out)
    state = outputs.read_state(store, ["key"])
    if state.note is None or state.note.source is not None:
        return
    before = state.note.spec["dataset"]
    name = before.get("name")
    if name == wanted.name or name not in resources.plugins("datasets") or before["source"] is not None:
        return
    other = datasets.load(name)
    # Kinetics of two years has videos in common.
    if isinstance(other, type(dataset)) and set(other.classes() or ()) & set(dataset.classes() or ()):
        return
    if there := _keys(state):
        raise _refusal(store, there)


def _keys(state: State) -> set[str]:
    if state.manifest is not None:
        return {key for (key,) in state.manifest.columns("key")}
    return set() if state.note is None else set(state.note.label_of)


def _refusal(store: Store, there: set[str]) -> OutputError:
    return OutputError(
        f"{store.out}: holds {len(there)} other clips, such as {min(there)!r}; choose another out, or remove it"
    )
