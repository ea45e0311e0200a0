"""Two recognisers on the same videos: by how much one is better, and whether that may be chance; pure Python.

Both treat videos as independent, which clips of one film are not: the truth is somewhat less certain.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.evaluation.metrics import ranked, wilson


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """How often each of two recognisers was right on the videos that both were tested on.

    Attributes:
        both: Videos that both recognised.
        first: Videos that the first one alone recognised.
        second: Videos that the second one alone recognised.
        neither: Videos that neither recognised.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def count(self) -> int:
        """Videos in all."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """By how much the second one's top-1 is higher, -1 to 1; not a number where there are no videos."""
        return (self.second - self.first) / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The difference's 95 % interval; of no videos, nothing is known: (-1, 1).

        R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
        data", Statistics in Medicine 17 (1998), 2635–2650, method 10: both proportions' Wilson intervals, put together
        by their correlation φ, which is corrected for continuity.
        """
        if not self.count:
            return -1.0, 1.0
        right = self.both + self.second, self.both + self.first
        (p1, (l1, u1)), (p2, (l2, u2)) = ((hits / self.count, wilson(hits, self.count)) for hits in right)
        phi = self._phi()
        low = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
        high = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
        return max(-1.0, self.difference - low), min(1.0, self.difference + high)

    @property
    def chance(self) -> float:
        """McNemar's test, mid-p: how likely so uneven a split of the videos that one alone recognised is by chance.

        Q. McNemar, Psychometrika 12 (1947), 153–157; mid-p as in M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar
        test for binary matched-pairs data: mid-p and asymptotic are better than exact conditional", BMC Medical
        Research Methodology 13 (2013), 91.
        """
        count = self.first + self.second
        if not count:
            return 1.0

        def share(number: int) -> float:
            ways = math.lgamma(count + 1) - math.lgamma(number + 1) - math.lgamma(count - number + 1)
            return math.exp(ways - count * math.log(2))

        least = min(self.first, self.second)
        if self.first == self.second:
            return 1 - share(least) / 2
        return 2 * math.fsum(map(share, range(least))) + share(least)

    def _phi(self) -> float:
        margins = (
            (self.both + self.first)
            * (self.second + self.neither)
            * (self.both + self.second)
            * (self.first + self.neither)
        )
        over = float(self.both * self.neither - self.first * self.second)
        if over > 0:
            over = max(0.0, over - self.count / 2)
        return over / math.sqrt(margins) if margins else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return counts, difference (null where there are no videos) and chance."""
        low, high = self.interval
        value = self.difference
        return {
            "videos": self.count,
            "both": self.both,
            "first_alone": self.first,
            "second_alone": self.second,
            "neither": self.neither,
            "difference": None if math.isnan(value) else value,
            "low": low,
            "high": high,
            "mid_p": self.chance,
        }


def pair(first: Evaluation, second: Evaluation) -> Pair:
    """Hold two evaluations side by side on the videos that are in both and of the same class there."""
    one, other = _right(first), _right(second)
    found = [(one[key], other[key]) for key in one.keys() & other.keys()]
    counts = [found.count(case) for case in ((True, True), (True, False), (False, True), (False, False))]
    return Pair(*counts)


def _right(evaluation: Evaluation) -> Mapping[tuple[str, str], bool]:
    """Whether each video, known by its name and its class, was recognised."""
    best = ranked(evaluation.probabilities, 1)[:, 0]
    return {
        (key, evaluation.labels[target]): bool(named == target)
        for key, target, named in zip(evaluation.keys, evaluation.targets.tolist(), best.tolist(), strict=True)
    }
