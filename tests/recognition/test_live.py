"""Cameras and streams: answers as the pictures come, from a real server; a camera that is a fake."""

import contextlib
import csv
import http.server
import io
import json
import socketserver
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import video_world
from click.testing import CliRunner

from araflow.cli.options import Group
from araflow.cli.predict import predict
from araflow.core.errors import SourceError
from araflow.media import live, video
from araflow.recognition.prediction.predict import predict as of_file
from araflow.recognition.prediction.predict import watched
from araflow.recognition.spec import ModelSpec


def run(*arguments):
    result = CliRunner().invoke(Group(commands={"predict": predict}), ["predict", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def model() -> ModelSpec:
    stream = {"frames": 4, "width": 32, "height": 32}
    network = {"architecture": "arn_2d", "modality": "rgb", "rgb": stream}
    return ModelSpec.model_validate({"network": network, "labels": ["walk", "run", "push"]})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return video_world.recogniser(tmp_path_factory.mktemp("run") / "last.safetensors", model())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """60 frames of noise, which no codec makes small, at 10 a second."""
    path = tmp_path_factory.mktemp("clip") / "noise.ts"
    random = np.random.default_rng(0)
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        for _ in range(60):
            picture = random.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


class _Streams(http.server.BaseHTTPRequestHandler):
    """Sends the server's parts one after the other, and waits before each until it may."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        whole, form = self.server.whole, b"%x\r\n%s\r\n"
        self.send_header(*(("Transfer-Encoding", "chunked") if whole else ("Content-Length", "9999999")))
        self.send_header("Content-Type", self.server.kind)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part, may in self.server.parts:
                self.server.waited &= may.wait(20)
                self.wfile.write(form % (len(part), part) if whole else part)
                self.wfile.flush()
            if whole:
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Give a function that serves bytes as a stream of so many parts, and returns the server and its address."""
    servers = []

    def start(data: bytes, parts: int = 1, kind: str = "video/mp2t", whole: bool = True):
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Streams)
        server.daemon_threads = True
        size = -(-len(data) // parts)
        server.parts = [(data[at : at + size], threading.Event()) for at in range(0, len(data), size)]
        server.kind, server.whole, server.waited = kind, whole, True
        server.parts[0][1].set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_address[1]}/live"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_answer_comes_before_the_stream_goes_on(checkpoint, clip, serve):
    server, address = serve(clip.read_bytes(), 2)
    runner = video_world.runner(model())
    info, frames = live.read(address)
    seen = []
    for one in watched(runner, "live", info, frames, window=4, stride=4):
        seen.append(one)
        server.parts[1][1].set()  # half of the stream is sent only now that there is an answer
    assert server.waited
    assert len(seen) > 10
    same = of_file(runner, clip, top=5, window=4)
    assert [one.labels for one in seen] == [one.labels for one in same]
    for one, other in zip(seen, same, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    assert [one.start_seconds for one in seen] == pytest.approx([number * 4 / 25 for number in range(len(seen))])


def test_a_stream_is_told_line_by_line_and_saved(checkpoint, clip, serve, tmp_path):
    _, address = serve(clip.read_bytes())
    files = [tmp_path / f"a{ending}" for ending in (".csv", ".srt", ".mp4")]
    saved = [word for file in files for word in ("--save", file)]
    result = run(checkpoint, address, "--json", "--top", 1, "--window", 8, *saved)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["start_frame"] for row in rows] == list(range(0, 8 * len(rows), 8))
    assert len(rows) == 60 // 8
    assert [row["label"] for row in csv.DictReader(io.StringIO(files[0].read_text()))] == [
        row["labels"][0] for row in rows
    ]
    assert files[1].read_text().count("-->") == len(rows)
    film = [frame.copy() for frame in video.read(files[2])[1]]
    assert len(film) == 60
    assert film[0][-18:].max() < 160  # darkened, and nothing said yet
    text = run(checkpoint, address, "--top", 1).stdout.splitlines()
    assert text[0].split()[:2] == ["0.0–0.2", "s"]
    assert text[-1].endswith("windows of 4 frames, one every 2")


def test_a_camera_of_pictures_is_a_stream_too(clip, serve):
    """Cameras in networks send JPEG files one after the other, and say no length."""
    parts = []
    for level in (10, 120, 240):
        picture = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes()
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
        parts.append(head + picture + b"\r\n")
    _, address = serve(b"".join(parts), kind="multipart/x-mixed-replace; boundary=frame")
    _, frames = live.read(address)
    assert [int(frame.mean().round(-1)) for frame in frames] == [10, 120, 240]


def test_a_stream_that_breaks_off_ends_with_a_warning(clip, serve, checkpoint):
    _, address = serve(clip.read_bytes()[:120_000], whole=False)
    result = run(checkpoint, address)
    assert result.exit_code == 0, result.output
    assert "the stream ends here" in result.stderr
    assert "predictions in" in result.stdout.splitlines()[-1]


def test_a_playlist_opens_no_file_of_this_machine(clip, serve):
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2.4,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    _, address = serve(playlist.encode(), kind="application/vnd.apple.mpegurl")
    with pytest.raises(SourceError):
        list(live.read(address)[1])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["http://user:hidden@127.0.0.1:9/x?token=hidden"], 1, "cannot be opened as a stream"),
        (["199"], 1, "camera 199: cannot be opened"),
        (["0", "1"], 2, "watched alone"),
        (["0", "--mode", "conv"], 2, "watched alone"),
        (["s3://bucket/a.mp4"], 1, "a.mp4"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(checkpoint, arguments, status, words):
    result = run(checkpoint, *arguments)
    assert result.exit_code == status, result.output
    assert words in result.stderr
    assert "hidden" not in result.output
    assert "Traceback" not in result.output


def test_only_what_names_no_file_is_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [live.is_live(text) for text in ("0", "12", "/dev/video1", "RTSP://a/b", "http://a")] == [True] * 5
    assert not any(map(live.is_live, ("0.mp4", "a", "s3://a/b", "file:///a", "1234", "rtsp:/a", "/dev/video")))
    (tmp_path / "0").write_bytes(b"")
    assert not live.is_live("0")


class FakeCamera:
    """No machine of the tests has a camera: three pictures, blue in OpenCV's order, then silence."""

    def __init__(self, index):
        self.left, self.open = 3, True
        assert index == 7

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def get(self, what):
        return {cv2.CAP_PROP_FRAME_WIDTH: 8.0, cv2.CAP_PROP_FRAME_HEIGHT: 6.0}.get(what, 0.0)

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((6, 8, 3), (255, 0, 0), np.uint8)

    def release(self):
        FakeCamera.released = True


def test_a_camera_s_pictures_come_as_rgb_and_it_is_let_go(monkeypatch, caplog):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    info, frames = live.read("7")
    assert (info.width, info.height, info.fps) == (8, 6, None)
    assert [frame[0, 0].tolist() for frame in frames] == [[0, 0, 255]] * 3
    assert FakeCamera.released
    assert "no more pictures, after 3" in caplog.text
