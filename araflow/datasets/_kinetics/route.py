"""Kinetics clips that no archive holds, asked of YouTube one after the other, with every answer kept.

The answers stand in ``<dataset folder>/youtube.csv``. What YouTube says of the video itself (private, removed) is
believed in later runs; what it says of this machine (blocked), and what went wrong, is asked again.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from araflow.acquire.folder import DatasetFolder
from araflow.core.errors import SourceError
from araflow.core.files import replace
from araflow.datasets._kinetics import youtube
from araflow.datasets._kinetics.lists import parse_name
from araflow.datasets._kinetics.youtube import LASTING, Answer, Status

log = logging.getLogger(__name__)
ANSWERS_FILE = "youtube.csv"
_COLUMNS = ("youtube_id", "start", "end", "status", "detail")
_BLOCKED_IN_A_ROW, _FAILED_IN_A_ROW = 3, 10
_SAVED_EVERY = 20


class Route:
    """Asks for clips, one after the other, and keeps every answer.

    Args:
        folder: The dataset's folder.
    """

    def __init__(self, folder: DatasetFolder) -> None:
        self.folder, self._file = folder, folder.path / ANSWERS_FILE
        self._answers: dict[tuple[str, int, int], Answer] = {}
        self._in_a_row: Counter[Status] = Counter()
        self._given_up: str | None = None
        self._begun = False
        self.counts: Counter[Status] = Counter()

    def fetch(self, names: Iterable[str], report: Callable[[str], None]) -> dict[str, Answer]:
        """Fetch clips to where their archive would have put them.

        Args:
            names: ``Clip.name`` of each, ``<class>/<id>_<start>_<end>.mp4``.
            report: Called with lines for a log.

        Returns:
            An answer for each name; ``ok`` means that the file lies in the dataset's ``videos``.

        Raises:
            SourceError: The dataset's folder cannot be written.
        """
        answers: dict[str, Answer] = {}
        with self.folder.locked(report):
            self._answers |= _read(self._file)
            try:
                for number, name in enumerate(names, start=1):
                    answers[name] = self._get(name, report)
                    self.counts[answers[name].status] += 1
                    if number % _SAVED_EVERY == 0:
                        self._save()
            finally:
                self._save()
        return answers

    def summary(self) -> str:
        """Say how many clips got which answer."""
        told = ", ".join(f"{self.counts[status]:,} {status}" for status in Status if self.counts[status])
        return f"YouTube, for clips that no archive holds: {told or 'nothing to ask for'}"

    def _get(self, name: str, report: Callable[[str], None]) -> Answer:
        clip, target = parse_name(name), self.folder.videos / name
        assert clip is not None, "the list's reader has seen to it"
        if target.is_file():
            return Answer(Status.OK)
        if (known := self._answers.get(clip)) is not None and known.status in LASTING:
            return known
        if self._given_up is not None:
            answer = Answer(Status.NOT_ASKED, self._given_up)
        else:
            if not self._begun:
                report(f"asking YouTube for clips that no archive holds; its terms apply; answers: {self._file}")
                self._begun = True
            answer = youtube.fetch_clip(*clip, target, address=youtube.ADDRESS)
            self._count(answer)
        self._answers[clip] = answer
        return answer

    def _count(self, answer: Answer) -> None:
        before = self._in_a_row[answer.status]
        self._in_a_row = Counter({answer.status: before + 1})
        for status, most in ((Status.BLOCKED, _BLOCKED_IN_A_ROW), (Status.FAILED, _FAILED_IN_A_ROW)):
            if self._in_a_row[status] >= most:
                self._given_up = f"{most} clips in a row were {status}, the last one: {answer.detail}"
                log.warning("YouTube is asked no more in this run: %s", self._given_up)

    def _save(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows((*clip, answer.status, answer.detail) for clip, answer in sorted(self._answers.items()))
        try:
            replace(self._file, text.getvalue().encode())
        except OSError as error:
            raise SourceError(f"{self._file}: cannot be written: {error.strerror or error}") from error


def _read(path: Path) -> dict[tuple[str, int, int], Answer]:
    """Read the answers of earlier runs; one that cannot be read is asked for again."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {
            (row["youtube_id"], int(row["start"]), int(row["end"])): Answer(Status(row["status"]), row["detail"])
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
