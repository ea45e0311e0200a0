"""One experiment under many settings: every combination a run in a folder of its own, and how they spread."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from araflow.core.errors import SpecError
from araflow.core.table import Table, figures, names
from araflow.recognition.results import Result

_REPEATS = "seed"
"""Last part of the settings that say nothing of a recogniser: runs that differ in these alone are repeats."""
_NO_NAME = re.compile(r"[^\w.+-]+")
_MOST_RUNS = 1000
_NOTHING = "–"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One combination of the values that are swept over.

    Attributes:
        values: By dotted key, as they were typed.
        name: Of its folder.
    """

    values: Mapping[str, str]
    name: str

    @property
    def overrides(self) -> tuple[str, ...]:
        """The same as ``dotted.key=value``."""
        return tuple(f"{key}={value}" for key, value in self.values.items())

    @property
    def setting(self) -> tuple[str, ...]:
        """Its values but for seeds: what its repeats have in common."""
        return tuple(value for key, value in self.values.items() if not _repeats(key))


def points(overrides: Sequence[str]) -> tuple[list[Point], list[str]]:
    """Take apart settings of which some have several values, and combine each value with each.

    Args:
        overrides: Each ``dotted.key=value``, or with values between commas: ``training.seed=0,1,2``. A comma within
            brackets or quotes is part of a value: ``training.optimizer.steps=[5,10],[8,12]``.

    Returns:
        The combinations, the last setting's values changing first; and the overrides with one value.

    Raises:
        SpecError: None has several values, one is there twice, or there are more than 1,000 combinations.
    """
    several: dict[str, list[str]] = {}
    single = []
    for text in overrides:
        key, _, value = text.partition("=")
        found = _apart(value)
        if len(found) == 1:
            single.append(text)
        elif key in several or len(set(found)) < len(found):
            raise SpecError(f"{key}: named twice" if key in several else f"{text}: a value is there twice")
        else:
            several[key] = found
    if not several:
        raise SpecError("sweep: no setting has several values; give such as training.seed=0,1,2")
    if (count := math.prod(map(len, several.values()))) > _MOST_RUNS:
        raise SpecError(f"sweep: {count:,} combinations; at most {_MOST_RUNS:,} are run")
    combinations = [dict(zip(several, values, strict=True)) for values in itertools.product(*several.values())]
    found_names = [_name(values) for values in combinations]
    if len(set(found_names)) < len(found_names):  # values that differ in signs that no folder's name may have
        found_names = [f"{number:03}_{name}" for number, name in enumerate(found_names)]
    return [Point(values, name) for values, name in zip(combinations, found_names, strict=True)], single


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several runs.

    Attributes:
        values: One per run.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Their standard deviation, as of a sample (n - 1); not a number of one run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return mean, deviation (null of one run), least and most."""
        deviation = None if math.isnan(self.deviation) else self.deviation
        return {"mean": self.mean, "deviation": deviation, "least": min(self.values), "most": max(self.values)}

    def cells(self) -> tuple[str, str, str]:
        """Return mean, deviation, and least to most in percent."""
        deviation = _NOTHING if math.isnan(self.deviation) else f"± {100 * self.deviation:.1f}"
        least, most = (f"{100 * value:.1f}" for value in (min(self.values), max(self.values)))
        return f"{100 * self.mean:.1f} %", deviation, f"{least} to {most}"


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """What runs are worth that differ in the settings that were swept over.

    Attributes:
        points: The combinations.
        results: One per combination.
    """

    points: Sequence[Point]
    results: Sequence[Result]

    def groups(self) -> dict[tuple[str, ...], list[Result]]:
        """Return the results by setting, those that differ in seeds alone together."""
        found: dict[tuple[str, ...], list[Result]] = {}
        for point, result in zip(self.points, self.results, strict=True):
            found.setdefault(point.setting, []).append(result)
        return found

    def table(self) -> Table:
        """Return a row per setting, with mean and spread over its seeds."""
        keys = [key for key in self.points[0].values if not _repeats(key)]
        rows = []
        for setting, results in self.groups().items():
            validated = _validated(results)
            rows.append(
                (
                    *setting,
                    str(len(results)),
                    *_top1(results).cells(),
                    *(validated.cells()[:2] if validated else (_NOTHING, _NOTHING)),
                )
            )
        columns = figures("runs", "top-1", "spread", "least to most", "best val top-1", "its spread")
        return Table((*names(*keys), *columns), rows, title="mean and standard deviation over each setting's runs")

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready: each run, and each setting."""
        keys = [key for key in self.points[0].values if not _repeats(key)]
        runs = [
            {"name": point.name, "values": dict(point.values), "out": str(result.prepared.out), **result.to_json()}
            for point, result in zip(self.points, self.results, strict=True)
        ]
        settings = []
        for setting, results in self.groups().items():
            validated = _validated(results)
            settings.append(
                {
                    "values": dict(zip(keys, setting, strict=True)),
                    "runs": len(results),
                    "top1": _top1(results).to_json(),
                    "val_top1": validated and validated.to_json(),
                }
            )
        return {"runs": runs, "settings": settings}


def _top1(results: Sequence[Result]) -> Spread:
    return Spread(tuple(result.evaluation.metrics.top1.value for result in results))


def _validated(results: Sequence[Result]) -> Spread | None:
    """The best top-1 on the clips that a run chose its epoch by; ``None`` where a run had none."""
    best = [
        max((row["val_top1"] for row in result.trained.history if "val_top1" in row), default=math.nan)
        for result in results
    ]
    return None if any(map(math.isnan, best)) else Spread(tuple(best))


def _repeats(key: str) -> bool:
    return key.rpartition(".")[2] == _REPEATS


def _name(values: Mapping[str, str]) -> str:
    last = [key.rpartition(".")[2] for key in values]
    keys = last if len(set(last)) == len(last) else list(values)
    return "_".join(f"{key}-{_NO_NAME.sub('.', value)}" for key, value in zip(keys, values.values(), strict=True))


def _apart(text: str) -> list[str]:
    """Split at commas that are in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        else:
            depth += (sign in "[{") - (sign in "]}")
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts] if all(part.strip() for part in parts) else [text]
