"""What the numbers in the names of frames tell: whether some are lacking, or there twice."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Sequence

from araflow.media import series


def remark(names: Sequence[str]) -> str:
    """Say which frames of a clip are lacking or there twice; nothing of names that do not count steadily upward.

    Frames that were taken at even distances (every fifth) lack nothing.

    Args:
        names: Of the frames' files, in their order.
    """
    numbers = _numbers(names)
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if not steps or min(steps) < 0:
        return ""
    said = []
    if twice := [place for place, step in enumerate(steps) if not step]:
        first = twice[0]
        more = f", and so are {len(twice) - 1} more" if len(twice) > 1 else ""
        said.append(f"frame {numbers[first]} is there twice, as {names[first]} and {names[first + 1]}{more}")
    step = statistics.median_low([one for one in steps if one] or [1])
    if gaps := [place for place, one in enumerate(steps) if one >= 1.5 * step]:
        said.append(_lacking(names, numbers, gaps, step))
    return "; ".join(said)


def _lacking(names: Sequence[str], numbers: Sequence[int], gaps: Sequence[int], step: int) -> str:
    before, after = numbers[gaps[0]], numbers[gaps[0] + 1]
    spans = round((after - before) / step)
    absent = [before + step, after - step]
    which = {2: f"frame {absent[0]}", 3: f"frames {absent[0]} and {absent[1]}"}
    text = which.get(spans, f"frames {absent[0]} to {absent[1]}")
    text += f" of {_stem(names[0])} to {_stem(names[-1])} {'is' if spans == 2 else 'are'} lacking"
    if len(gaps) > 1:
        count = sum(round((numbers[place + 1] - numbers[place]) / step) - 1 for place in gaps)
        text += f", and more: {count} in {len(gaps)} places"
    return text + f"; the flow between {_stem(names[gaps[0]])} and {_stem(names[gaps[0] + 1])} spans {spans} steps"


def _numbers(names: Sequence[str]) -> list[int]:
    """The last number in each name that is not the same in all of them; none where they are not of one series."""
    found = [re.findall("[0-9]+", _stem(name)) for name in names]
    if len({(series.kind_of(name), len(own)) for name, own in zip(names, found, strict=True)}) != 1:
        return []
    columns = [[int(text) for text in column] for column in zip(*found, strict=True)]
    return next((column for column in reversed(columns) if len(set(column)) > 1), [])


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
