"""An NVIDIA TAO experiment file: its fields by the names that they have today, old names and ``${…}`` resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from araflow.core.errors import SpecError, brief
from araflow.recognition.streams import STREAMS, Stream
from araflow.recognition.tao._values import choice

OLD_SECTIONS: Final = {"model_config": "model", "dataset_config": "dataset", "train_config": "train"}
"""Sections of the old schema, and what they are called today."""
LABEL_MAP: Final = "dataset.label_map"
MODALITY: Final = choice({"rgb": "rgb", "of": "flow", "joint": "joint"})
_RENAMED: Final = {
    "output_dir": "results_dir",
    "key": "encryption_key",
    "num_gpus": "train.num_gpus",
    "gpu_ids": "train.gpu_ids",
    "gpu_id": "export.gpu_id",
    "model": "evaluate.checkpoint",
    "output_file": "export.onnx_file",
    "inference_dataset_dir": "inference.inference_dataset_dir",
    "video_inf_mode": "inference.video_inf_mode",
    "train.epochs": "train.num_epochs",
    **{
        name: f"evaluate.{name}" for name in ("batch_size", "test_dataset_dir", "video_eval_mode", "video_num_segments")
    },
}
"""Old names of single fields, in sections as they are called today."""
_OLD_DEFAULTS: Final[dict[str, Any]] = {"model.model_type": "joint", "dataset.batch_size": 32}
"""Defaults that were others, as of TAO 5.0, the earliest release whose defaults are published."""
_PLACEHOLDERS = ("", "??", "???")
"""What stands in TAO's files for a value to be filled in; OmegaConf's own mark has three."""
_DEEPEST = 8
"""Steps of ``${…}`` that lead to ``${…}``; more are a circle."""
_LONGEST = 10_000
"""Characters that a value may have when all its ``${…}`` are filled in."""


def is_secret(field: str) -> bool:
    """Whether a field, by its name of today or in the file, holds what is not shown, such as the encryption key."""
    last = _RENAMED.get(field, field).rpartition(".")[2]
    return re.search(r"(^|_)(key|token|secret|passw(or)?d|passphrase|credentials?)$", last, re.I) is not None


class Theirs:
    """A TAO experiment file.

    Args:
        tree: The file.
        defaults: TAO's default of each field that has one, by its name of today.
        fields: Names of today of all fields.

    Raises:
        SpecError: A group of settings is not one, or a field is given under two names.
    """

    def __init__(self, tree: Mapping[str, Any], defaults: Mapping[str, Any], fields: Iterable[str]) -> None:
        self._tree = tree
        self._defaults = {**defaults, **(_OLD_DEFAULTS if OLD_SECTIONS.keys() & tree.keys() else {})}
        self._sections = {name.rpartition(".")[0] for name in fields} - {""}
        self._sections |= {section.partition(".")[0] for section in self._sections}
        self.leaves: list[tuple[str, str, Any]] = list(self._walk(tree, "", ""))
        """Each field's name in the file, its name of today, and its value, as the file orders them."""
        self._given: dict[str, tuple[str, Any]] = {}
        self._known: dict[str, str] = {}
        for path, name, value in self.leaves:
            if name in self._given:
                raise SpecError(f"{path}: {self._given[name][0]} says the same; keep one of them")
            self._given[name] = path, value

    def _walk(self, tree: Mapping[str, Any], above: str, above_today: str) -> Iterator[tuple[str, str, Any]]:
        for key, value in tree.items():
            path, name = f"{above}{key}", f"{above_today}{OLD_SECTIONS.get(key, key) if not above else key}"
            if isinstance(value, Mapping) and name != LABEL_MAP:
                yield from self._walk(value, f"{path}.", f"{name}.")
            elif name in self._sections and (value is None or name not in _RENAMED):
                if value is not None:
                    raise SpecError(f"{path}: expected a group of settings (found {brief(repr(value))})")
            else:
                yield path, _RENAMED.get(name, name), value

    def path(self, name: str) -> str:
        """Return what the file calls a field; its name of today where the file has none."""
        return self._given[name][0] if name in self._given else name

    def is_set(self, name: str) -> bool:
        """Return whether the file gives a value, and not null or a placeholder."""
        value = self._given.get(name, ("", None))[1]
        return value is not None and not (isinstance(value, str) and value in _PLACEHOLDERS)

    def default(self, name: str) -> Any:  # noqa: ANN401 - whatever YAML holds
        """Return TAO's default; ``None`` where it has none."""
        return self._defaults.get(name)

    def value(self, name: str) -> Any:  # noqa: ANN401
        """Return the file's value with ``${…}`` filled in, or TAO's default.

        Raises:
            SpecError: What stands in ``${…}`` is not in the file.
        """
        return self._filled(name, self._given[name][1]) if self.is_set(name) else self.default(name)

    def _filled(self, name: str, value: Any, depth: int = 0) -> Any:  # noqa: ANN401
        if not isinstance(value, str) or "${" not in value:
            return value
        length = 0

        def look_up(match: re.Match[str]) -> str:
            nonlocal length
            found = self._looked_up(name, match[1], depth)
            length += len(found)
            if length > _LONGEST:
                raise SpecError(f"{self.path(name)}: grows beyond {_LONGEST:,} characters by its ${{…}}; write it out")
            return found

        return re.sub(r"\$\{([^{}]*)\}", look_up, value)

    def _looked_up(self, name: str, key: str, depth: int) -> str:
        if is_secret(key):
            wanted = brief(f"${{{key}}}")
            raise SpecError(f"{self.path(name)}: {wanted} is a secret, and goes into no names; write the value itself")
        if key not in self._known:
            node: Any = self._tree
            for part in key.split("."):
                node = node.get(part) if isinstance(node, Mapping) else None
            if node is None or isinstance(node, Mapping) or depth == _DEEPEST:
                wanted = brief(f"${{{key}}}")
                raise SpecError(f"{self.path(name)}: {wanted} is no value of this file; write the value itself")
            self._known[key] = str(self._filled(name, node, depth + 1))
        return self._known[key]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that the run uses, in our names."""
        return STREAMS[MODALITY(self.path("model.model_type"), self.value("model.model_type"))]

    @property
    def name(self) -> str:
        """The run's name without what ours must not hold; TAO's own default if there is none."""
        given = str(self.value("model_name") or "")
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", given).lstrip("_.-") or "action_recognition"

    @property
    def out(self) -> str:
        """Folder of the run."""
        folder = next((self.value(n) for n in ("train.results_dir", "results_dir") if self.is_set(n)), None)
        return str(folder or f"runs/{self.name}")
