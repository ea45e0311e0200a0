"""Kinetics clips that no archive holds, asked of YouTube one after the other, with every answer kept.

The answers stand in ``<dataset folder>/youtube.csv``. What YouTube says of the video itself (private, removed) is
believed in later runs; what it says of this machine (blocked), and what went wrong, is asked again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from araflow.acquire.folder import DatasetFolder
from araflow.acquire.notes import read_table, write_table
from araflow.datasets._kinetics import youtube
from araflow.datasets._kinetics.lists import parse_name
from araflow.datasets._kinetics.youtube import Answer, Status

log = logging.getLogger(__name__)
Question = tuple[str, int, int]
"""A clip: the video's id, and where the clip begins and ends, in seconds."""
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
        self._answers: dict[Question, Answer] = {}
        self._strange: list[list[str]] = []
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
            SourceError: The answers of earlier runs cannot be read, or the dataset's folder cannot be written.
        """
        answers: dict[str, Answer] = {}
        with self.folder.locked(report):
            self._load()
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
        if (known := self._answers.get(clip)) is not None and known.lasts:
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

    def _load(self) -> None:
        """Read the answers of earlier runs; rows that are none are kept as they are, and their clips asked for."""
        rows = read_table(self._file, _COLUMNS)
        known = [_parse(row) for row in rows]
        self._answers |= dict(filter(None, known))
        before, self._strange = self._strange, [row for row, answer in zip(rows, known, strict=True) if answer is None]
        if self._strange and self._strange != before:
            log.warning(
                "%s: %d rows are not understood, such as %r; they are kept",
                self._file,
                len(self._strange),
                ",".join(self._strange[0]),
            )

    def _save(self) -> None:
        rows = [(*clip, answer.status, answer.detail) for clip, answer in sorted(self._answers.items())]
        write_table(self._file, _COLUMNS, [*rows, *self._strange])


def _parse(row: list[str]) -> tuple[Question, Answer] | None:
    """Read one answer; ``None`` where it is none that this version knows."""
    try:
        youtube_id, start, end, status, detail = row
        return (youtube_id, int(start), int(end)), Answer(Status(status), detail)
    except ValueError:
        return None
