"""Damaged copies of a clip: each one becomes a row with a reason, and none costs more than itself."""

import contextlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from araflow.build import run as build
from araflow.core.clip import REASONS, Outcome
from araflow.core.spec_file import parse
from araflow.datasets._sample import draw_sample
from araflow.store.audit import validate

pytestmark = pytest.mark.slow

FRAMES = 20


def truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flipped(data: bytes, rng: random.Random, start: int = 0, end: int | None = None) -> bytes:
    damaged = bytearray(data)
    for _ in range(round(500 ** rng.random())):
        damaged[rng.randrange(start, end or len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def header_flipped(data: bytes, rng: random.Random) -> bytes:
    return flipped(data, rng, 0, 512)


def index_flipped(data: bytes, rng: random.Random) -> bytes:
    return flipped(data, rng, len(data) - 1024)


def zeroed(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:start] + bytes(end - start) + data[end:]


def scribbled(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.randrange(1, 4096)
    return (data[:start] + rng.randbytes(length) + data[start + length :])[: len(data)]


def swapped(data: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 20_000) :]


def doubled(data: bytes, rng: random.Random) -> bytes:
    return data + data[rng.choice([0, rng.randrange(len(data))]) :]


def padded(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"", rng.randbytes(rng.randrange(1, 5000))]) + data + rng.randbytes(rng.randrange(5000))


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 12, 100, len(data)]))


def text(data: bytes, rng: random.Random) -> bytes:
    return ("a renamed text, with café\n" * rng.randrange(1, 2000)).encode(rng.choice(["utf-8", "latin-1", "utf-16"]))


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    truncated,
    truncated,
    flipped,
    flipped,
    header_flipped,
    index_flipped,
    zeroed,
    scribbled,
    swapped,
    cut_out,
    doubled,
    padded,
    noise,
    text,
]


def shorten(source: Path, target: Path) -> bytes:
    """Copy the first frames of a video, as they are encoded."""
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        (first,) = given.streams.video
        opaque = target.suffix == ".mp4"  # else PyAV 14 writes no whole H.264
        stream = container.add_stream_from_template(first, opaque=opaque)
        if not opaque:
            stream.time_base = first.time_base  # else PyAV 14 and 15 write 400 frames into an AVI's header
        packets = [packet for packet in given.demux(video=0) if packet.size]
        for packet in packets[:FRAMES]:
            packet.stream = stream
            container.mux(packet)
    return target.read_bytes()


@pytest.fixture
def clips(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, bytes]:
    """A short AVI and a short MP4, of real footage where there is any."""
    with contextlib.suppress(pytest.skip.Exception):
        folder: Path = request.getfixturevalue("real_data") / "clips"
        return {
            ".avi": shorten(next(folder.glob("Crash_walk*.avi")), tmp_path / "short.avi"),
            ".mp4": shorten(next(folder.glob("*.mp4")), tmp_path / "short.mp4"),
        }
    draw_sample(tmp_path, clips_per_class=1, width=96, height=64, seconds=(1.0, 1.0), classes=["walk"])
    (drawn,) = (tmp_path / "videos").rglob("*.avi")
    return {suffix: shorten(drawn, tmp_path / f"short{suffix}") for suffix in (".avi", ".mp4")}


@pytest.mark.parametrize("mutants", [2 * len(MUTATIONS), pytest.param(100, marks=pytest.mark.proof)])
def test_every_mutant_is_a_row_with_a_reason(
    clips: dict[str, bytes], tmp_path: Path, record_property: Callable[[str, object], None], mutants: int
):
    """``mutants`` of each of the two containers."""
    source = tmp_path / "mutants"
    made: dict[str, str] = {}
    for suffix, data in clips.items():
        folder = source / suffix[1:]
        folder.mkdir(parents=True)
        (folder / f"untouched{suffix}").write_bytes(data)
        for number in range(mutants):
            mutation = MUTATIONS[number % len(MUTATIONS)]
            mutant = mutation(data, random.Random(f"{suffix} {number}"))
            (folder / f"{mutation.__name__}_{number:03d}{suffix}").write_bytes(mutant)
            made[f"{folder.name}/{mutation.__name__}_{number:03d}"] = mutation.__name__
    shutil.copy(source / "avi" / "untouched.avi", source / "mp4" / "misnamed.mp4")

    spec = parse(
        {
            "name": "mutants",
            "dataset": {"name": "folder", "source": str(source)},
            "split": {"protocol": "random"},
            "optical": {"preset": "fastest"},
            "run": {"workers": 2, "clip_timeout": 60},
            "out": str(tmp_path / "out"),
        }
    )
    manifest = build.build(spec)

    rows = {row["key"]: row for row in manifest.table.to_pylist()}
    codes = {key: row["reason"].partition(":")[0] for key, row in rows.items()}
    counts = Counter(f"{rows[key]['outcome']} {codes[key]}" for key in made)
    record_property("mutants by outcome", dict(counts))
    print(dict(counts.most_common()))
    assert len(made) == 2 * mutants
    assert rows.keys() == made.keys() | {"avi/untouched", "mp4/untouched", "mp4/misnamed"}
    for key in ("avi/untouched", "mp4/untouched", "mp4/misnamed"):
        assert (rows[key]["outcome"], rows[key]["reason"]) == ("done", "complete")
        assert FRAMES - 2 <= rows[key]["frames"] <= FRAMES  # a packet may hold no frame
    assert set(codes.values()) <= set(REASONS)
    trouble = {key: rows[key]["reason"] for key in rows if codes[key] in ("crashed", "timeout", "error", "io-error")}
    assert not trouble
    assert {row["outcome"] for row in rows.values()} == {Outcome.DONE, Outcome.QUARANTINED}
    by_kind = {kind: {codes[key] for key in made if made[key] == kind} for kind in set(made.values())}
    assert by_kind["text"] | by_kind["noise"] <= {"not-a-video", "empty", "no-frames"}
    assert "complete" not in {codes[key] for key in made if made[key] == "truncated" and key.startswith("avi")}
    assert counts["done complete"] < len(made) / 2
    assert validate(manifest) == []
    assert not list((tmp_path / "out" / ".araflow").glob("work/*"))
