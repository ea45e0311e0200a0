"""One clip from YouTube, by yt-dlp and ffmpeg; off unless ``dataset.youtube`` is set.

Nothing is signed in to, and neither cookies nor a user's configuration of yt-dlp are read. YouTube's terms apply.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.util
import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import av

from araflow.core.errors import SourceError, UnavailableError
from araflow.core.files import draft, explained
from araflow.core.resources import cache_folder

log = logging.getLogger(__name__)
ADDRESS = "https://www.youtube.com/watch?v={id}"
_SHORT_SIDE = 340
"""Pixels. Clips are made smaller than this before they are trained on; YouTube's next size up is taken if need be."""
_PAUSES = {"sleep_interval_requests": 0.75, "sleep_interval": 10.0, "max_sleep_interval": 20.0}
"""Seconds, as in yt-dlp's own preset ``-t sleep``: a guest who asks faster is soon blocked."""
_TIMEOUT = 30
"""Seconds that a connection may be silent."""
_RETRIES = 3
_SLACK = 1.5
"""Seconds that a clip may lack: YouTube gives a video's length in whole seconds, and a frame may be cut off."""


class Status(enum.StrEnum):
    """What became of a clip that YouTube was asked for."""

    OK = "ok"
    """It came."""
    PRIVATE = "private"
    """Its uploader shows it to some people only."""
    REMOVED = "removed"
    """The video, its account, or this part of the video is gone."""
    AGE_RESTRICTED = "age-restricted"
    """It is shown to people who have signed in and are of age."""
    BLOCKED = "blocked"
    """Not shown here: in this country, to this address, or without signing in."""
    FAILED = "failed"
    """Anything else, such as a broken connection."""
    NOT_ASKED = "not asked"
    """YouTube had refused, or failed, too often in a row before."""


LASTING = frozenset({Status.PRIVATE, Status.REMOVED, Status.AGE_RESTRICTED})
"""Answers about the video itself, which are not asked for again."""

# Looked for in this order in yt-dlp's message, which quotes YouTube's, in lower case: "Private video. Sign in if …" is
# private, "Video unavailable. … blocked it in your country" is blocked. What is asked for never again must be plain:
# "HTTP Error 503: Service Unavailable" and "This video is not available" (which passes) are failures.
_SIGNS: tuple[tuple[Status, str], ...] = (
    (Status.PRIVATE, r"private video|video is private|members-only|join this channel|requires payment"),
    (Status.AGE_RESTRICTED, r"confirm your age|age-restricted|inappropriate for some users"),
    (
        Status.BLOCKED,
        r"not a bot|captcha|rate-limited|try again later|\b429\b|too many requests|your (country|location|region)|"
        r"sign in|log ?in (required|details)|administrator",
    ),
    (
        Status.REMOVED,
        r"video unavailable|video is (unavailable|no longer available)|been (removed|terminated|deleted)|"
        r"(video|account) (does not|doesn't|no longer) exist|on copyright grounds|account .*closed",
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What YouTube answered.

    Attributes:
        status: In a word.
        detail: The first line of the message; empty for a clip that came.
    """

    status: Status
    detail: str = ""

    @property
    def came(self) -> bool:
        """Whether the clip is there."""
        return self.status is Status.OK

    @property
    def lasts(self) -> bool:
        """Whether this is about the video itself, so that it is not asked for again."""
        return self.status in LASTING

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}" if self.detail else str(self.status)


def check() -> None:
    """See that this route can work, before anything is begun.

    Raises:
        UnavailableError: yt-dlp or ffmpeg is absent.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise UnavailableError("dataset.youtube needs yt-dlp: pip install 'araflow[youtube]', or leave it off")
    if shutil.which("ffmpeg") is None:
        raise UnavailableError(
            "dataset.youtube needs ffmpeg, with which yt-dlp cuts a clip out: apt install ffmpeg, or leave it off"
        )


def fetch_clip(youtube_id: str, start: int, end: int, target: Path, address: str = ADDRESS) -> Answer:
    """Fetch one clip; ``target`` appears whole or not at all.

    The video is re-encoded, so that it begins and ends at the very frame.

    Args:
        youtube_id: The video's 11-character id.
        start: Where the clip begins, in seconds.
        end: Where it ends, in seconds.
        target: An ``.mp4`` file; its folder need not exist.
        address: Where the video is; ``{id}`` stands for its id.

    Raises:
        SourceError: ``target`` cannot be written.
    """
    from yt_dlp import YoutubeDL

    lengths: list[float] = []

    def gone(info: dict[str, Any], **_: object) -> str | None:
        """Refuse, before anything is downloaded, a video that has become too short."""
        lengths[:] = [float(info["duration"])] if info.get("duration") else []
        return f"the video lasts {lengths[0]:g} s" if lengths and lengths[0] <= start else None

    with tempfile.TemporaryDirectory(prefix="araflow-youtube-") as scratch:
        try:
            with YoutubeDL(_options(Path(scratch), start, end) | {"match_filter": gone}) as client:
                client.extract_info(address.format(id=youtube_id))
        except Exception as error:  # yt-dlp's own, and whatever a changed page makes it stumble over
            return classify(error)
        if lengths and lengths[0] <= start:
            return Answer(Status.REMOVED, f"the video lasts {lengths[0]:g} s, but the clip began at {start} s")
        video = Path(scratch, "clip.mp4")
        if problem := _problem(video, min([end, *lengths]) - start):
            return Answer(Status.FAILED, problem)
        with explained(target, "cannot be written", SourceError):
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft(target) as part:
                shutil.copyfile(video, part)
    return Answer(Status.OK)


def _options(folder: Path, start: int, end: int) -> dict[str, Any]:
    from yt_dlp.utils import download_range_func

    return {
        "format": "bv*[ext=mp4]/bv*/b",  # only pictures are used
        "format_sort": [f"res:{_SHORT_SIDE}"],  # the largest up to this, or else the smallest above; by the short side
        "download_ranges": download_range_func(None, [(start, end)]),
        "force_keyframes_at_cuts": True,
        "postprocessors": [{"key": "FFmpegVideoRemuxer", "preferedformat": "mp4"}],
        # ffmpeg, which does the downloading of a range, would wait for ever; microseconds.
        "external_downloader_args": {"ffmpeg_i": ["-rw_timeout", str(_TIMEOUT * 1_000_000)]},
        "outtmpl": {"default": f"{str(folder).replace('%', '%%')}/clip.%(ext)s"},
        "noplaylist": True,
        "cachedir": str(cache_folder() / "yt-dlp"),
        "socket_timeout": _TIMEOUT,
        "retries": _RETRIES,
        "extractor_retries": _RETRIES,
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "logger": _Logger(),
        **_PAUSES,
    }


class _Logger:
    """Takes what yt-dlp would print; errors are raised as well."""

    def debug(self, message: str) -> None:
        log.debug("%s", message)

    error = debug

    def warning(self, message: str) -> None:
        _warn_once(re.sub(r"^\[[\w:]+\] [\w-]{11}: ", "", message))


@functools.lru_cache
def _warn_once(message: str) -> None:
    """Each warning comes again with each video, such as the one that yt-dlp finds no JavaScript runtime."""
    log.warning("yt-dlp: %s", message)


def classify(error: Exception) -> Answer:
    """Read an error of yt-dlp's."""
    causes = [error, error.__context__]  # a DownloadError is raised while the extractor's own error is handled
    text = str(next((own for cause in causes if (own := getattr(cause, "orig_msg", None))), error))
    lines = text.removeprefix("ERROR: ").strip().splitlines()
    detail = lines[0].partition("; please report this issue")[0].strip() if lines else type(error).__name__
    plain = detail.lower().replace("’", "'")
    if any(type(cause).__name__ == "GeoRestrictedError" for cause in causes):
        return Answer(Status.BLOCKED, detail)
    return Answer(next((status for status, signs in _SIGNS if re.search(signs, plain)), Status.FAILED), detail)


def _problem(video: Path, wanted: float) -> str | None:
    """Say what is wrong with a file that ffmpeg has written; it also ends well where the connection broke."""
    if not video.is_file():
        return "yt-dlp left no file"
    try:
        with av.open(str(video)) as container:
            seconds = max((float((s.duration or 0) * (s.time_base or 0)) for s in container.streams.video), default=0.0)
    except av.FFmpegError as error:
        return f"what came is no video: {error}"
    return None if seconds >= wanted - _SLACK else f"{seconds:.1f} s of {wanted:.1f} s came"
