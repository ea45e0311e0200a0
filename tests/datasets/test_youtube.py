"""The YouTube route: the real yt-dlp and ffmpeg against a web server on this machine; YouTube itself is never asked."""

import csv
import functools
import io
import re
import select
import sys
import time

import av
import kinetics_world as worlds
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kinetics_world import World
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from araflow.acquire.folder import DatasetFolder
from araflow.cli import main
from araflow.core.errors import SourceError, SpecError, UnavailableError
from araflow.datasets import acquire
from araflow.datasets._kinetics import youtube
from araflow.datasets._kinetics.route import ANSWERS_FILE, Route
from araflow.datasets._kinetics.youtube import Answer, Status, classify

MISSING = "-_0000000_X_000010_000020.mp4"  # the clip that no archive of the small Kinetics holds
ID = MISSING[:11]


@functools.cache
def draw(seconds: int, fps: int = 10, form: str = "mp4") -> bytes:
    """A video whose frames grow brighter by 3 each, from 10; with keyframes far apart."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream({"mp4": "mpeg4", "webm": "libvpx"}[form], rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", 50
        stream.bit_rate = 4_000_000
        for number in range(seconds * fps):
            shade = np.full((96, 128, 3), min(10 + 3 * number, 255), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def video(body: bytes, most: int | None = None, silence: float = 0.0):
    """A handler that knows ranges; ``most`` bytes of each answer are sent, then silence until the client hangs up."""

    def send(handler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-\d*", handler.headers.get("Range", ""))
        begin = int(match[1]) if match else 0
        handler.send_response(206 if match else 200)
        if match:
            handler.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(len(body) - begin))
        handler.end_headers()
        handler.wfile.write(body[begin:][:most])
        select.select([handler.connection], [], [], silence)

    return send


def refusal(status: int, reason: str):
    """A handler whose status line says why; yt-dlp quotes it, as it quotes YouTube's reasons."""

    def send(handler) -> None:
        handler.send_response(status, reason)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return send


PRIVATE = refusal(403, "Private video. Sign in if you have been granted access to this video")
BOT = refusal(403, "Sign in to confirm that you are not a bot")
GONE = refusal(410, "Video unavailable. This video has been removed by the uploader")


@pytest.fixture
def tube(web, monkeypatch):
    """The web server in YouTube's place; videos are at ``/<id>.mp4``. Nobody is kept waiting."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(youtube, "ADDRESS", web.url("/{id}.mp4"))
    monkeypatch.setattr(youtube, "_PAUSES", {})
    return web


@pytest.fixture
def world(tube, tmp_path, monkeypatch) -> World:
    world = World(tube, tmp_path, monkeypatch)
    world.serve_true()
    return world


@pytest.fixture
def route(tmp_path) -> Route:
    return Route(DatasetFolder(tmp_path / "data", None))


def asked(web) -> list[str]:
    """Ids asked for since the last call; ffmpeg asks for more than once for what yt-dlp has found."""
    found = [path[1:-4] for path in web.requests if path.endswith(".mp4")]
    web.requests.clear()
    return list(dict.fromkeys(found))


def recorded(folder) -> list[tuple[str, str]]:
    """Id and status of each answer on record."""
    with (folder / ANSWERS_FILE).open(newline="") as file:
        return [(row["youtube_id"], row["status"]) for row in csv.DictReader(file)]


def names(number: int) -> list[str]:
    return [f"abseiling/{worlds.name(n)}" for n in range(number)]


def fetch(tube, target, start=2, end=5, path="v"):
    return youtube.fetch_clip(path, start, end, target, address=youtube.ADDRESS)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Private video. Sign in if you've been granted access to this video", Status.PRIVATE),
        ("Video unavailable. This video is private", Status.PRIVATE),
        ("Join this channel to get access to members-only content like this video", Status.PRIVATE),
        ("Video unavailable", Status.REMOVED),
        ("Video unavailable. This video has been removed by the uploader", Status.REMOVED),
        (
            "Video unavailable. This video is no longer available because the YouTube account associated with this "
            "video has been terminated.",
            Status.REMOVED,
        ),
        ("This video has been removed for violating YouTube's Terms of Service", Status.REMOVED),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", Status.AGE_RESTRICTED),
        ("Sign in to confirm you’re not a bot. Use --cookies-from-browser", Status.BLOCKED),
        ("Sign in to confirm you're not a bot", Status.BLOCKED),
        ("Video unavailable. This video contains content from X, who has blocked it in your country", Status.BLOCKED),
        (
            "Video unavailable. This content isn't available, try again later. The session is rate-limited",
            Status.BLOCKED,
        ),
        ("Unable to download API page: HTTP Error 429: Too Many Requests", Status.BLOCKED),
        ("This video is not available", Status.FAILED),
        ("Unable to download webpage: HTTP Error 503: Service Unavailable", Status.FAILED),
        ("Unable to download webpage: HTTP Error 404: Not Found", Status.FAILED),
        ("Requested format is not available. Use --list-formats for a list of available formats", Status.FAILED),
        ("ffmpeg exited with code 1", Status.FAILED),
    ],
)
def test_a_message_of_youtube_or_yt_dlp_tells_the_status(message, status):
    try:
        try:
            raise ExtractorError(message, expected=False, video_id=ID, ie="youtube")
        except ExtractorError as error:
            raise DownloadError(f"ERROR: {error}") from None
    except DownloadError as error:
        assert classify(error) == Answer(status, message)
    assert classify(DownloadError(f"ERROR: {message}\nand a second line")) == Answer(status, message)


def test_a_geographic_restriction_is_known_by_its_type_whatever_it_says():
    error = DownloadError("ERROR: [youtube] x: The uploader has said no\nThis video is available in Fiji.")
    error.__context__ = GeoRestrictedError("The uploader has said no")
    assert classify(error) == Answer(Status.BLOCKED, "The uploader has said no")


@given(st.text())
def test_any_message_gets_a_status_and_a_detail_of_one_line(message):
    answer = classify(ValueError(message))
    assert answer.status is not Status.OK
    assert len(answer.detail.splitlines()) <= 1


@pytest.mark.ffmpeg
def test_a_clip_is_cut_at_the_frame_and_nothing_lies_beside_it(tube, tmp_path):
    tube.files["/v.mp4"] = video(draw(8))
    assert fetch(tube, tmp_path / "a" / "clip.mp4") == Answer(Status.OK)
    with av.open(str(tmp_path / "a" / "clip.mp4")) as container:
        shades = [int(np.median(frame.to_ndarray(format="rgb24"))) for frame in container.decode(video=0)]
    assert len(shades) == 30  # 3 s of 10 frames each
    assert np.abs(np.array(shades) - np.arange(70, 160, 3)).max() <= 1  # frame 20 was drawn as 70
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["clip.mp4"]


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (PRIVATE, Status.PRIVATE, "Private video"),
        (BOT, Status.BLOCKED, "not a bot"),
        (GONE, Status.REMOVED, "removed by the uploader"),
        (refusal(429, "Too Many Requests"), Status.BLOCKED, "429"),
        (refusal(503, "Service Unavailable"), Status.FAILED, "503"),
        (b"<html>moved</html>", Status.FAILED, "Unsupported URL"),
        (video(draw(8), most=3000), Status.FAILED, "ffmpeg exited"),
        (video(draw(8), most=3000, silence=30), Status.FAILED, "ffmpeg exited"),
        (video(draw(3)), Status.FAILED, "1.0 s of 3.0 s came"),
        (video(draw(1)), Status.FAILED, "0.0 s of 3.0 s came"),
        (video(b"no video" * 1000), Status.FAILED, ""),
    ],
    ids=["private", "bot", "gone", "429", "503", "html", "cut", "silent", "short", "over", "junk"],
)
def test_what_does_not_come_whole_has_a_status_and_leaves_nothing(tube, tmp_path, monkeypatch, answer, status, detail):
    monkeypatch.setattr(youtube, "_TIMEOUT", 0.5)
    tube.files["/v.mp4"] = answer
    began = time.monotonic()
    got = fetch(tube, tmp_path / "clip.mp4")
    assert time.monotonic() - began < 15
    assert got.status is status
    assert detail in got.detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffmpeg
def test_a_video_that_became_shorter_gives_what_is_left_of_the_clip_or_counts_as_removed(tube, tmp_path):
    """The page says how long the video is, as YouTube's does."""
    about = (
        '{"@context": "http://schema.org", "@type": "VideoObject", "name": "x", "duration": "PT4S", "contentUrl": "%s"}'
    )
    page = f'<html><script type="application/ld+json">{about % tube.url("/media.mp4")}</script></html>'
    tube.files |= {"/v.mp4": page.encode(), "/media.mp4": video(draw(4))}
    assert fetch(tube, tmp_path / "a.mp4", 2, 12) == Answer(Status.OK)
    assert fetch(tube, tmp_path / "b.mp4", 4, 12) == Answer(
        Status.REMOVED, "the video lasts 4 s, but the clip began at 4 s"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("sizes", "taken"), [((144, 240, 360, 720), 240), ((480, 720), 480), ((720,), 720)], ids=["below", "above", "only"]
)
def test_the_largest_size_of_at_most_340_is_taken_or_else_the_smallest_above(tube, tmp_path, sizes, taken):
    sources = [f'<source src="{tube.url(f"/at{n}.mp4")}" type="video/mp4" label="{n}p">' for n in sizes]
    tube.files["/v.mp4"] = f"<html><body><video>{''.join(sources)}</video></body></html>".encode()
    tube.files |= {f"/at{size}.mp4": video(draw(6)) for size in sizes}
    assert fetch(tube, tmp_path / "clip.mp4").status is Status.OK
    assert [path for path in asked(tube) if path.startswith("at")] == [f"at{taken}"]


@pytest.mark.ffmpeg
def test_a_clip_of_another_container_becomes_an_mp4(tube, tmp_path):
    tube.files["/v.webm"] = video(draw(4, form="webm"))
    assert youtube.fetch_clip("v", 1, 3, tmp_path / "clip.mp4", tube.url("/{id}.webm")) == Answer(Status.OK)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert "mp4" in container.format.name
        assert sum(1 for _ in container.decode(video=0)) == 20


@pytest.mark.ffmpeg
def test_a_folder_that_cannot_be_written_is_an_error_and_no_status(tube, tmp_path):
    tube.files["/v.mp4"] = video(draw(8))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="cannot be written"):
        fetch(tube, tmp_path / "file" / "clip.mp4")


def test_what_the_route_needs_is_named_with_the_way_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="apt install ffmpeg"):
        youtube.check()
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(UnavailableError, match=r"pip install 'araflow\[youtube\]'"):
        youtube.check()


def test_after_three_blocked_in_a_row_youtube_is_asked_no_more_and_the_next_run_asks_again(
    tube, route, tmp_path, caplog
):
    clips = names(6)
    tube.files |= {f"/{worlds.name(n)[:11]}.mp4": PRIVATE if n == 0 else BOT for n in range(6)}
    answers = route.fetch(clips, print) | route.fetch(clips[4:], print)
    assert [str(answers[name].status) for name in clips] == ["private", *["blocked"] * 3, *["not asked"] * 2]
    assert len(asked(tube)) == 4
    assert sum("asked no more" in line for line in caplog.messages) == 1
    assert [status for _, status in recorded(tmp_path / "data")] == ["private", *["blocked"] * 3, *["not asked"] * 2]
    again = Route(route.folder).fetch(clips, print)
    assert again[clips[0]] == answers[clips[0]]
    assert asked(tube) == [worlds.name(n)[:11] for n in (1, 2, 3)]


def test_blocked_answers_that_are_not_in_a_row_do_not_end_it(tube, route):
    tube.files |= {f"/{worlds.name(n)[:11]}.mp4": BOT if n % 3 else GONE for n in range(9)}
    route.fetch(names(9), print)
    assert len(asked(tube)) == 9
    assert route.summary().endswith("3 removed, 6 blocked")


def test_after_ten_failures_in_a_row_it_is_asked_no_more(tube, route):
    answers = route.fetch(names(12), print)
    assert [answer.status for answer in answers.values()] == [Status.FAILED] * 10 + [Status.NOT_ASKED] * 2
    assert len(asked(tube)) == 10


def test_answers_are_kept_when_the_run_is_interrupted(tube, route, monkeypatch, tmp_path):
    given = iter([Answer(Status.REMOVED, 'gone, "really"')])

    def one(*_, **__):
        try:
            return next(given)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(youtube, "fetch_clip", one)
    with pytest.raises(KeyboardInterrupt):
        route.fetch(names(3), print)
    assert recorded(tmp_path / "data") == [(worlds.name(0)[:11], "removed")]


@pytest.mark.ffmpeg
def test_a_build_makes_the_missing_clip_and_deletes_its_video_and_a_second_run_asks_nothing(world, caplog):
    world.web.files[f"/{ID}.mp4"] = video(draw(21, 4))
    with caplog.at_level("INFO", "araflow"):
        manifest = world.build(youtube=True)
    assert worlds.statuses(manifest)[MISSING] == "ok"
    assert worlds.rows(manifest)[MISSING]["outcome"] == "done"
    assert worlds.rows(manifest)[MISSING]["frames"] == 2  # rgb.max_frames of these tests
    assert world.videos() == []
    assert recorded(world.data) == [(ID, "ok")]
    assert "YouTube, for clips that no archive holds: 1 ok" in caplog.text
    assert "its terms apply" in caplog.text
    asked(world.web)
    assert worlds.statuses(world.build(youtube=True))[MISSING] == "ok"
    assert worlds.statuses(world.build())[MISSING] == "ok"  # also with the route off
    assert asked(world.web) == []


def test_a_private_video_is_missing_for_good_and_says_why(world):
    world.web.files[f"/{ID}.mp4"] = PRIVATE
    for wanted in ([ID], []):
        row = worlds.rows(world.build(youtube=True))[MISSING]
        assert (row["outcome"], row["status"]) == ("quarantined", "missing")
        assert row["reason"].startswith("missing: in no archive; YouTube: private: ")
        assert asked(world.web) == wanted


@pytest.mark.ffmpeg
def test_a_blocked_clip_has_failed_and_the_next_run_tries_it_again(world):
    world.web.files[f"/{ID}.mp4"] = BOT
    row = worlds.rows(world.build(youtube=True))[MISSING]
    assert (row["outcome"], row["status"]) == ("failed", None)
    assert row["reason"].startswith("io-error: in no archive; YouTube: blocked: ")
    world.web.files[f"/{ID}.mp4"] = video(draw(21, 4))
    assert worlds.statuses(world.build(youtube=True))[MISSING] == "ok"


@pytest.mark.ffmpeg
def test_it_is_asked_for_a_clip_that_an_earlier_build_called_missing(world):
    assert worlds.statuses(world.build())[MISSING] == "missing"
    assert asked(world.web) == []
    world.web.files[f"/{ID}.mp4"] = video(draw(21, 4))
    assert worlds.statuses(world.build(youtube=True, keep_archives=True))[MISSING] == "ok"
    assert MISSING in world.videos()


def test_it_is_not_asked_while_an_archive_cannot_be_fetched(world):
    broken = world.web.files.pop("/400/val/part_0.tar.gz")
    world.build(youtube=True)
    assert asked(world.web) == []
    assert not (world.data / ANSWERS_FILE).exists()
    world.web.files |= {"/400/val/part_0.tar.gz": broken, f"/{ID}.mp4": GONE}
    assert worlds.rows(world.build(youtube=True))[MISSING]["reason"].startswith("missing: in no archive; YouTube: rem")


@pytest.mark.parametrize("answer", [BOT, GONE], ids=["failed", "missing"])
def test_a_build_that_is_to_stop_at_a_bad_clip_stops_at_one_that_does_not_come(world, answer):
    world.web.files[f"/{ID}.mp4"] = answer
    with pytest.raises(SourceError, match=r"in no archive; YouTube: .*run.on_error is stop"):
        world.build(youtube=True, run={"on_error": "stop"})


@pytest.mark.ffmpeg
def test_fetch_puts_the_clip_into_the_folder_and_says_how_many_came(world):
    world.web.files[f"/{ID}.mp4"] = video(draw(21, 4))
    got = acquire(world.dataset(youtube=True))
    assert MISSING in world.videos()
    assert got.total["missing"] == 0
    assert "YouTube, for clips that no archive holds: 1 ok" in got.remarks
    assert f"abseiling/{MISSING},ok" in (world.data / "clips.csv").read_text()
    asked(world.web)
    assert "nothing to ask for" in acquire(world.dataset(youtube=True)).remarks[-1]
    world.build(youtube=True)
    assert MISSING in world.videos()  # what was fetched to stay is not deleted by a build
    assert asked(world.web) == []


def test_without_ffmpeg_a_build_is_refused_before_anything_is_asked(world, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="ffmpeg"):
        world.build(youtube=True)
    assert world.requests() == []


@pytest.mark.parametrize("other", [{"source": "/videos"}, {"clips_per_class": 1}])
def test_settings_with_which_it_would_do_nothing_are_refused(world, other, tmp_path):
    if "source" in other:
        other = {"source": str(tmp_path)}
    with pytest.raises(SpecError, match=f"dataset.youtube: .* leave dataset.{next(iter(other))} null"):
        world.build(youtube=True, **other)


@pytest.mark.parametrize("arguments", [("hmdb51",), ("kinetics400", "--from", ".")])
def test_the_option_is_for_downloads_of_kinetics(arguments):
    result = CliRunner().invoke(main, ["fetch", *arguments, "--youtube"])
    assert result.exit_code == 2
    assert "--youtube is for downloads of Kinetics" in result.output


def test_a_dry_run_says_that_youtubes_terms_apply_and_asks_nobody(world, monkeypatch):
    result = CliRunner().invoke(main, ["fetch", "kinetics400", "--youtube", "--dry-run"])
    assert "clips in no archive: size unknown from YouTube, with yt-dlp; YouTube's terms apply" in result.output
    assert world.requests() == []
