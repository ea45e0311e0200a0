"""NVIDIA TAO's experiment files of ActionRecognitionNet, read as ours.

Today's schema (``model``, ``dataset``, ``train`` …) and the old one (``model_config``, ``dataset_config``,
``train_config``). Every field is accounted for: what it became, or why it is nothing here. ``_tao_fields`` holds the
table. TAO trains on folders, ``araflow`` on a manifest: ``folders`` finds them in the file, ``manifest_of_folders``
lists what is in them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from araflow.core.errors import SpecError, brief, did_you_mean
from araflow.core.table import Column, Table, names
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.streams import Modality
from araflow.recognition.tao._fields import NOTHING, RULES, Rule
from araflow.recognition.tao._file import LABEL_MAP, OLD_SECTIONS, Theirs, is_secret
from araflow.recognition.tao._folders import manifest_of_folders
from araflow.recognition.tao._values import label_map

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Field", "Folders", "folders", "is_tao", "manifest_of_folders", "print_report", "report", "split_overrides"]
__all__ += ["labels", "replaced", "to_json", "translate"]

Status = Literal["mapped", "not applicable", "ignored, as TAO itself ignores it", "unknown"]
_IGNORED: Status = "ignored, as TAO itself ignores it"
_HIDDEN = "(hidden)"
"""A field whose value must not end up in a log, and what is shown for it."""
_MOST_UNKNOWN = 100
"""Fields that are accounted for one by one, each with the nearest name."""
_SECTIONS = ("model", "dataset", "train", *OLD_SECTIONS)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """What became of one field of a TAO file.

    Attributes:
        path: Its dotted name in their file.
        value: Its value there; an encryption key is not shown.
        became: Our dotted key, or keys with ``, `` between them; ``None`` if it has none.
        note: How it was converted, or why it has no place here; may be empty.
        status: In a word.
        ours: Our keys with the values that they got.
    """

    path: str
    value: Any
    became: str | None
    note: str
    status: Status
    ours: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def is_tao(tree: Mapping[str, Any]) -> bool:
    """Return whether settings are those of a TAO experiment, of either schema, and not of an experiment of ours."""
    return not tree.keys() & ExperimentSpec.model_fields.keys() and any(
        isinstance(tree.get(section), Mapping) for section in _SECTIONS
    )


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part overrides into those in TAO's names, for before ``translate``, and those in ours, for after it."""
    ours = [text for text in overrides if text.split("=")[0].split(".")[0].strip() in ExperimentSpec.model_fields]
    return [text for text in overrides if text not in ours], ours


def translate(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[Field]]:
    """Turn a TAO experiment into ours.

    What the file leaves out is TAO's default, not ours. ``manifest`` is where ``manifest_of_folders`` puts it.

    Args:
        tree: The file, of either schema.

    Returns:
        The settings of an ``ExperimentSpec``, and what became of each field: first those of the file, in its order
        (a list is one field, and so is ``label_map``), then TAO's defaults that differ from ours.

    Raises:
        SpecError: A value is one that TAO does not allow, or that cannot be had here; names the key in their file.
    """
    theirs = _read(tree)
    unknown = [path for path, name, _ in theirs.leaves if name not in RULES]
    if len(unknown) > _MOST_UNKNOWN:
        raise SpecError(f"{len(unknown):,} fields are none of TAO's ActionRecognitionNet, such as {brief(unknown[0])}")
    settings: dict[str, Any] = {"name": theirs.name, "manifest": f"{theirs.out}/manifest.parquet", "out": theirs.out}
    fields = [_account(theirs, path, name, value) for path, name, value in theirs.leaves]
    known = {key: value for field in fields for key, value in field.ours.items()}
    fields += _defaults(theirs, known)
    known |= {key: value for field in fields for key, value in field.ours.items()}
    for key, value in {**known, "evaluation.compat": "none"}.items():
        *groups, last = key.split(".")
        node = settings
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return settings, fields


def _read(tree: Mapping[str, Any]) -> Theirs:
    return Theirs(tree, {name: rule.default for name, rule in RULES.items() if rule.default is not NOTHING}, RULES)


def _account(theirs: Theirs, path: str, name: str, value: Any) -> Field:  # noqa: ANN401 - whatever YAML holds
    rule = RULES.get(name)
    if is_secret(name):
        value = _HIDDEN
    if rule is None:
        return Field(path, value, None, _unknown(name), "unknown")
    if reason := rule.unused(theirs):
        return Field(path, value, None, reason, _IGNORED)
    if not theirs.is_set(name):
        if theirs.default(name) is None:
            note = f"not set; {rule.note}" if rule.note and isinstance(rule.note, str) else "not set"
            return Field(path, value, None, note, "not applicable")
        return _applied(theirs, rule, path, theirs.default(name), value, "not set: TAO's default")
    return _applied(theirs, rule, path, theirs.value(name), value, "")


def _applied(theirs: Theirs, rule: Rule, path: str, value: Any, shown: Any, prefix: str) -> Field:  # noqa: ANN401
    ours = rule.apply(theirs, path, value)
    note = rule.note if isinstance(rule.note, str) else rule.note(theirs, value)
    note = "; ".join(part for part in (prefix, note) if part)
    return Field(path, shown, ", ".join(ours) or None, note, "mapped" if ours else "not applicable", ours)


def _unknown(name: str) -> str:
    if name.startswith("gen_trt_engine"):
        return "TAO makes no engine of this network; `araflow export` writes ONNX for trtexec"
    return f"no such field of TAO's ActionRecognitionNet{did_you_mean(name, RULES)}"


def _defaults(theirs: Theirs, known: Mapping[str, Any]) -> Iterable[Field]:
    """Yield TAO's defaults that change something: they differ from ours, and the file says nothing else."""
    network = {"architecture": known["network.architecture"]} if "network.architecture" in known else {}
    tree = {"name": "x", "manifest": "x", "out": "x", "network": network}
    own = ExperimentSpec.model_validate(tree).model_dump()
    given = {name for _, name, _ in theirs.leaves}
    for name, rule in RULES.items():
        value = theirs.default(name)
        if name in given or value is None or rule.unused(theirs):
            continue
        field = _applied(theirs, rule, name, value, value, "TAO's default")
        if any(key not in known and _own(own, key) != found for key, found in field.ours.items()):
            kept = {key: found for key, found in field.ours.items() if key not in known}
            yield dataclasses.replace(field, became=", ".join(kept), ours=kept)


def _own(tree: Any, key: str) -> Any:  # noqa: ANN401
    for part in key.split("."):
        tree = tree[part]
    return list(tree) if isinstance(tree, tuple) else tree


@dataclasses.dataclass(frozen=True, slots=True)
class Folders:
    """The data that a TAO file names.

    Attributes:
        train: Folder of training clips, class/video/{rgb,u,v}.
        test: Folder of test clips: ``evaluate.test_dataset_dir``, or else ``dataset.val_dataset_dir``.
        val: ``dataset.val_dataset_dir``, if that is not the test clips'.
        labels: Class name to number.
    """

    train: Path
    test: Path | None
    val: Path | None
    labels: dict[str, int]

    def manifest(self, out: Path, modality: Modality) -> Path:
        """List the clips in a manifest; see ``manifest_of_folders``."""
        return manifest_of_folders(self.train, self.test, self.labels, out, modality=modality, val=self.val)


def folders(tree: Mapping[str, Any]) -> Folders:
    """Find the data in a TAO file.

    Raises:
        SpecError: It names no training clips, or no labels.
    """
    theirs = _read(tree)
    train, val, test = (
        Path(str(theirs.value(name))).expanduser() if theirs.is_set(name) else None
        for name in ("dataset.train_dataset_dir", "dataset.val_dataset_dir", "evaluate.test_dataset_dir")
    )
    if train is None:
        raise SpecError(
            "dataset.train_dataset_dir: not set, so there is nothing to train on: give the training file's folders, or "
            "manifest=MANIFEST of an araflow build"
        )
    if not theirs.is_set(LABEL_MAP):
        raise SpecError("dataset.label_map: not set; give each class its number, such as {walk: 0, run: 1}")
    test = test or val
    return Folders(
        train, test, None if val == test else val, label_map(theirs.path(LABEL_MAP), theirs.value(LABEL_MAP))
    )


def labels(tree: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return a TAO file's classes in the order of their numbers; ``None`` where it has none."""
    theirs = _read(tree)
    if not theirs.is_set(LABEL_MAP):
        return None
    numbers = label_map(theirs.path(LABEL_MAP), theirs.value(LABEL_MAP))
    return tuple(sorted(numbers, key=lambda label: numbers[label]))


def replaced(fields: Iterable[Field], manifest: str) -> list[Field]:
    """Say of the fields that would have made a manifest that a given one replaces them."""
    note = f"replaced by manifest={manifest}"
    return [
        dataclasses.replace(field, became=None, note=note, status="not applicable", ours={})
        if field.became == "manifest"
        else field
        for field in fields
    ]


def report(fields: Iterable[Field]) -> list[str]:
    """Return a line per field: ``theirs = value → ours = value (note)``."""
    return [f"{field.path} = {_text(field.value)} → {_became(field)}{_noted(field.note)}" for field in fields]


def _text(value: Any) -> str:  # noqa: ANN401
    return brief(value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str), 500)


def _became(field: Field) -> str:
    return ", ".join(f"{key} = {_text(value)}" for key, value in field.ours.items()) or field.status


def _noted(note: str) -> str:
    return f" ({note})" if note else ""


_STYLES: dict[str, str] = {"mapped": "", "not applicable": "dim", _IGNORED: "dim", "unknown": "bold red"}


def print_report(fields: Iterable[Field], console: Console | None = None) -> None:
    """Print what became of each field as a table.

    Args:
        fields: From ``translate``.
        console: Where; ``None`` takes standard error, so that standard output stays for results.
    """
    from rich.console import Console

    columns = (*names("TAO", "value"), Column("araflow", styles=_STYLES), *names("note"))
    rows = [(field.path, _text(field.value), _became(field), field.note) for field in fields]
    Table(columns, rows, title="NVIDIA TAO's settings here").print(console or Console(stderr=True))


def to_json(fields: Iterable[Field]) -> list[dict[str, Any]]:
    """Return a JSON-ready dict per field."""
    return [dataclasses.asdict(field) for field in fields]
