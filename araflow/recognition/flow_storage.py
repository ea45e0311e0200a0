"""How optical flow became the numbers that a recogniser sees, and flow of one kind held against flow of another.

A recogniser takes levels from 0 to 255 for speeds. Flow stored with another bound, or by another quantiser, shows it
other speeds; another algorithm sees other motion. Nothing in the pictures says so, hence every file of a recogniser and
every manifest holds the numbers, and they are compared wherever the two meet.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, SpecError, brief
from araflow.core.reading import json_of, problem_of
from araflow.core.spec import Quantizer, Settings

if TYPE_CHECKING:
    from araflow.store.manifest import Manifest

FlowScale = Literal["stored", "pixels"]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
_Value = float | int | Annotated[str, Field(max_length=100)]
COLUMNS = ("backend", "algorithm", "preset", "flow_parameters", "quantizer", "bound", "jpeg_quality")
"""Columns of a manifest that say how its flow was made."""
_WORDS = {"quantizer": "quantiser", "jpeg_quality": "JPEG quality"}
_ELSEWHERE = "unknown"
"""Backend of flow that araflow did not make."""
_LAST_BITS = "device"
"""Of the numbers of a preset, what decides no more than the last bits: the kind of device that PyTorch ran on."""
_SHOWN, _MOST = 4, 500
"""Ways that a message names, and characters of what differs between them."""
_NOT_KNOWN = "not known"


class FlowStorage(Settings):
    """How flow was made and stored; ``None`` where that is not known.

    Attributes:
        backend: What computed it; ``unknown`` where that was not araflow: the quantiser is a guess then.
        algorithm: Its algorithm.
        preset: What the preset was called then, for people.
        parameters: The numbers that algorithm and preset stood for.
        quantizer: How flow became 8-bit (``araflow.media.quantize``).
        bound: Largest storable component in pixels per frame, for ``bound``.
        jpeg_quality: Of the u and v images, 1 to 100.
        scale: What the recogniser was shown: the levels as stored, or speeds made comparable.
    """

    backend: _Name | None = None
    algorithm: _Name | None = None
    preset: _Name | None = None
    parameters: Annotated[dict[_Name, _Value], Field(max_length=100)] | None = None
    quantizer: Quantizer | None = None
    bound: Annotated[float, Field(gt=0, le=10_000)] | None = None
    jpeg_quality: int | None = Field(None, ge=1, le=100)
    scale: FlowScale = "stored"

    @property
    def known(self) -> FlowStorage:
        """The same without guesses: of flow from elsewhere, as in TAO's folders, ``max_radius`` is one."""
        return FlowStorage(scale=self.scale) if self.backend == _ELSEWHERE else self

    def __str__(self) -> str:
        """Name it for people, such as ``opencv dis balanced, ±20 pixels, JPEG 95``."""
        if self.known is not self:
            return str(self.known)
        if self.quantizer is None:
            scale = f"quantiser {_NOT_KNOWN}"
        elif self.quantizer == "bound":
            scale = f"bound {_NOT_KNOWN}" if self.bound is None else f"±{self.bound:g} pixels"
        else:
            scale = self.quantizer
        made = " ".join(name for name in (self.backend, self.algorithm, self.preset) if name)
        quality = f"quality {_NOT_KNOWN}" if self.jpeg_quality is None else self.jpeg_quality
        return f"{made or f'algorithm {_NOT_KNOWN}'}, {scale}, JPEG {quality}"

    def numbers(self) -> dict[str, Any]:
        """Return what is known, JSON-ready, less the preset's name: all that making the same flow again takes."""
        return self.known.model_dump(mode="json", exclude={"preset", "scale"}, exclude_none=True)

    def differs(self, other: FlowStorage) -> Differences:
        """Say in which way other flow is not this, which a recogniser was trained on."""
        this, that = self.known, other.known
        wrong: list[str] = []
        lesser: list[str] = []
        unknown: list[str] = []
        for name in ("algorithm", "backend", "quantizer", "bound", "jpeg_quality"):
            ours, theirs = getattr(this, name), getattr(that, name)
            if name == "bound" and {this.quantizer, that.quantizer} != {"bound"}:
                continue
            if ours is None or theirs is None:
                unknown.append(_WORDS.get(name, name))
            elif ours != theirs:
                # Where speeds are made comparable, scales need not be alike.
                harmless = ("backend", "jpeg_quality", *(("quantizer", "bound") if self.scale == "pixels" else ()))
                (lesser if name in harmless else wrong).append(_line(name, ours, theirs))
        if this.backend is not None and (this.backend, this.algorithm) == (that.backend, that.algorithm):
            if this.parameters is not None and that.parameters is not None:
                lesser += _other_numbers(this.parameters, that.parameters)
            elif this.preset != that.preset:
                lesser.append(_line("preset", this.preset, that.preset))
            else:
                unknown.append("the numbers of the preset")
        return Differences(tuple(wrong), tuple(lesser), tuple(unknown))


@dataclasses.dataclass(frozen=True, slots=True)
class Differences:
    """In which way flow is not that which a recogniser was trained on.

    Attributes:
        wrong: What makes its answers meaningless: another algorithm, quantiser or bound.
        lesser: What makes them less comparable: another backend, other numbers of a preset, another JPEG quality.
        unknown: What could not be compared.
    """

    wrong: tuple[str, ...] = ()
    lesser: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """Clips of a manifest whose flow was made in one way.

    Attributes:
        storage: How.
        clips: How many they are.
        such_as: The key of one.
    """

    storage: FlowStorage
    clips: int
    such_as: str


def of_manifest(manifest: Manifest) -> list[Share]:
    """Return the ways in which the flow of a manifest's finished clips was made; the most frequent first.

    Clips of one fingerprint were made by the same numbers, also those that an older version made without noting them.

    Args:
        manifest: With the columns ``COLUMNS``, ``key``, ``outcome`` and ``fingerprint``.

    Raises:
        ManifestError: A row says what cannot be.
    """
    import pyarrow as pa

    table = manifest.select(outcome=Outcome.DONE).table.select([*COLUMNS, "fingerprint", "key"])
    numbered = table.append_column("number", pa.array(range(len(table)), pa.int64()))
    groups = (
        numbered.group_by([*COLUMNS, "fingerprint"]).aggregate([("number", "count"), ("number", "min")]).to_pylist()
    )
    noted = {row["fingerprint"]: _known(row) for row in groups if row["fingerprint"] and row["flow_parameters"]}
    settings = {"jpeg_quality": manifest.settings.get("optical", {}).get("jpeg_quality")}
    shares: dict[str, Share] = {}
    for row in sorted(groups, key=lambda row: (-row["number_count"], row["number_min"])):
        key, clips = table.column("key")[row["number_min"]].as_py(), row["number_count"]
        storage = storage_of(key, settings | _known(row) | noted.get(row["fingerprint"], {}))
        way = storage.model_dump_json()
        known = shares.get(way, Share(storage, 0, key))
        shares[way] = dataclasses.replace(known, clips=known.clips + clips)
    return list(shares.values())


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS if row.get(name) is not None}


def storage_of(key: str, known: Mapping[str, Any]) -> FlowStorage:
    """Return how one clip's flow was made.

    Args:
        key: The clip's.
        known: Values of ``COLUMNS``, of its row or its record; what else there is does not matter.

    Raises:
        ManifestError: They say what cannot be.
    """
    try:
        numbers = known.get("flow_parameters")
        given = {name: known.get(name) for name in COLUMNS if name != "flow_parameters"}
        return FlowStorage.model_validate({**given, "parameters": None if numbers is None else json_of(numbers)})
    except ValueError as error:
        raise ManifestError(f"clip {key!r}: how its flow was made: {problem_of(error)}; build it again") from error


def _line(name: str, ours: object, theirs: object) -> str:
    shown = (f"{value:g}" if isinstance(value, float) else value or "none" for value in (ours, theirs))
    return "{} {} against {}".format(_WORDS.get(name, name), *shown)


def _other_numbers(ours: Mapping[str, object], theirs: Mapping[str, object]) -> Iterable[str]:
    """Name each number of a preset that differs; 1 and 1.0 are the same."""
    for name in sorted((ours.keys() | theirs.keys()) - {_LAST_BITS}):
        if ours.get(name) != theirs.get(name):
            yield f"{name} {json.dumps(ours.get(name))} against {json.dumps(theirs.get(name))}"


def one_way(manifest: Manifest, name: str) -> FlowStorage:
    """Return how all of a manifest's flow was made, to train on.

    Args:
        manifest: As for ``of_manifest``.
        name: What the manifest is called, for messages.

    Raises:
        SpecError: Not all of it in one way.
        ManifestError: See ``of_manifest``.
    """
    shares = of_manifest(manifest)
    found = [shares[0].storage.differs(share.storage) for share in shares]
    if not shares or any(own.wrong or own.lesser for own in found):
        shown = in_words(shares) or "no finished clip"
        lines = joined(line for own in found for line in (*own.wrong, *own.lesser))
        raise SpecError(f"manifest: flow of {name} was not made in one way ({shown}; {lines}): build it again")
    return min((share.storage for share in shares), key=lambda storage: len(storage.numbers()))


def in_words(shares: Sequence[Share]) -> str:
    """Name each way, and of several how many clips were made so."""
    if len(shares) == 1:
        return str(shares[0].storage)
    shown = [f"{share.storage} ({share.clips:,} clips, such as {share.such_as})" for share in shares[:_SHOWN]]
    return "; ".join([*shown, *([f"{len(shares) - _SHOWN:,} other ways"] if len(shares) > _SHOWN else [])])


def joined(lines: Iterable[str]) -> str:
    """Join what differs, each line once and not more than a message takes."""
    return brief("; ".join(dict.fromkeys(lines)), _MOST)
