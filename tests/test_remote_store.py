"""An output in object storage: the same manifest as in a folder, nothing half there, one run at a time.

The server is moto's: it speaks S3 over HTTP and keeps objects in memory. It is a simulation, not a production server.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from araflow import build
from araflow.audit import validate
from araflow.errors import OutputError, SpecError, UnavailableError
from araflow.manifest import Manifest
from araflow.spec import BuildSpec
from araflow.spec_file import parse
from araflow.store import open_path, open_store

pytestmark = [pytest.mark.slow, pytest.mark.s3]
KILLS = 5
BUCKET = "araflow"

PROGRAM = """
import sys
from araflow import build, spec

if __name__ == "__main__":
    build.build(spec.BuildSpec.model_validate_json(sys.argv[1]), on_record=lambda *_: print("event", flush=True))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, and what boto3 says of it: another library than the one under test."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    found = boto3.resource("s3", endpoint_url=server).Bucket(BUCKET)
    found.create()
    yield found
    found.objects.all().delete()
    found.delete()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five good clips, one with a name that addresses do not like, and a bad one."""
    from araflow.datasets._sample import draw_sample

    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(
        folder, clips_per_class=3, sources_per_class=3, width=96, height=64, seconds=(0.3, 0.4), classes=["walk", "run"]
    )
    first, second, *_ = sorted((folder / "videos").rglob("*.avi"))
    first.rename(first.with_name("-odd #1 (a)&;50%?.avi"))
    second.write_bytes(second.read_bytes()[:3000])
    return folder / "videos"


def settings(source: Path, out: str, **optical: object) -> BuildSpec:
    tree = {
        "name": "test",
        "dataset": {"name": "folder", "source": str(source)},
        "split": {"protocol": "random", "test_fraction": 0.4},
        "rgb": {"max_frames": 5},
        "optical": {"preset": "fastest", **optical},
        "run": {"workers": 1, "retries": 0},
        "out": out,
    }
    return parse(tree)


def objects(bucket: Any) -> dict[str, bytes]:
    found = {item.key: item.get()["Body"].read() for item in bucket.objects.all()}
    return {name: content for name, content in found.items() if not name.endswith(".araflow/build.json")}


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    build.build(settings(source, str(out)))
    return out


def test_it_is_the_same_as_in_a_folder_and_a_second_run_does_nothing(bucket: Any, source: Path, local: Path):
    url = f"s3://{BUCKET}/a folder"
    made = build.build(settings(source, url))
    assert made.outcomes() == {"done": 5, "quarantined": 1}
    names = {path.relative_to(local).as_posix(): path for path in local.rglob("*") if path.is_file()}
    for own in (".araflow/lock", ".araflow/build.json"):
        names.pop(own)
    expected = {f"a folder/{name}": path.read_bytes() for name, path in names.items()}
    assert objects(bucket) == expected
    assert validate(Manifest.read(open_path(url))) == []

    worked: list[bool] = []
    build.build(settings(source, url), on_record=lambda record, made: worked.append(made))
    assert worked == [False] * 6
    assert objects(bucket) == expected


def test_changed_settings_make_flow_anew_and_keep_the_frames(bucket: Any, source: Path, tmp_path: Path):
    url = f"s3://{BUCKET}/out"
    build.build(settings(source, url))
    before = {item.key: item.last_modified for item in bucket.objects.all() if "/rgb/" in item.key}
    build.build(settings(source, url, bound=5.0))
    build.build(settings(source, str(tmp_path), bound=5.0))
    assert {item.key: item.last_modified for item in bucket.objects.all() if "/rgb/" in item.key} == before
    assert objects(bucket)["out/manifest.parquet"] == (tmp_path / "manifest.parquet").read_bytes()


def test_an_object_that_is_gone_is_seen_and_its_clip_made_anew(bucket: Any, source: Path):
    url = f"s3://{BUCKET}/out"
    build.build(settings(source, url))
    expected = objects(bucket)
    victim = next(item for item in bucket.objects.all() if "/u/" in item.key)
    victim.delete()
    (problem,) = validate(Manifest.read(open_path(url)), decode=False)[:1]
    assert "u holds" in problem
    build.build(settings(source, url))
    assert objects(bucket) == expected


def test_killed_while_uploading_nothing_half_there_counts_and_the_rerun_completes(bucket: Any, source: Path):
    url = f"s3://{BUCKET}/out"
    build.build(settings(source, url))
    expected = objects(bucket)
    bucket.objects.all().delete()
    rng = random.Random(0)
    seen: list[int] = []
    for _ in range(KILLS):
        command = [sys.executable, "-c", PROGRAM, settings(source, url).model_dump_json()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
            aim = rng.randrange(1, 50)
            while sum(1 for _ in bucket.objects.all()) - (seen[-1] if seen else 0) < aim and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        there = objects(bucket)
        seen.append(len(there))
        for name in there:
            if name.endswith("/.araflow.json"):  # whole: every object of the clip is as it shall be
                clip = name.rpartition("/")[0] + "/"
                assert {n: c for n, c in there.items() if n.startswith(clip)} == {
                    n: c for n, c in expected.items() if n.startswith(clip)
                }
        if len(there) >= len(expected):
            bucket.objects.all().delete()
            seen.clear()
    build.build(settings(source, url))
    assert objects(bucket) == expected


def test_a_second_run_is_refused_with_who_holds_it_and_a_dead_ones_hold_is_taken(bucket: Any, source: Path):
    url = f"s3://{BUCKET}/out"
    held = open_store(url)
    with held.locked() as bound:
        assert open_store(url).is_live(bound.session_id)
        code = f"from araflow.store import open_store\nwith open_store({url!r}).locked(): pass"
        environment = os.environ | {"ARAFLOW_CACHE": os.environ["ARAFLOW_CACHE"] + "-of-another-machine"}
        other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert f"another araflow run is writing here (on {socket.gethostname()}, process {os.getpid()})" in other.stderr
        with pytest.raises(OutputError, match="another araflow run is writing here"), open_store(url).locked():
            pass
    assert not open_store(url).is_live(bound.session_id)
    code = f"from araflow.store import open_store\nimport os\nwith open_store({url!r}).locked(): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert [item.key for item in bucket.objects.all()] == ["out/.araflow/lock.json"]
    with open_store(url).locked():
        pass
    assert not list(bucket.objects.all())


def test_what_cannot_be_reached_is_one_clear_error(bucket: Any, source: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(OutputError, match=r"s3://absent/out: .*no such bucket.*AWS_PROFILE"):
        build.build(settings(source, "s3://absent/out"))
    with pytest.raises(OutputError, match=r"nonsense://x: .*check the address"):
        open_store("nonsense://x")
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(UnavailableError, match=r"pip install 'araflow\[s3\]'"):
        open_store("s3://araflow/out")


def test_storage_that_goes_away_ends_the_run_clearly_and_the_rerun_completes(
    bucket: Any, source: Path, local: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"s3://{BUCKET}/out"
    removed: list[str] = []

    def lose(record: object, made: bool) -> None:
        if made and not removed:
            removed.append(BUCKET)
            bucket.objects.all().delete()
            bucket.delete()

    with pytest.raises(OutputError, match="no such bucket"):
        build.build(settings(source, url), on_record=lose)
    bucket.create()
    build.build(settings(source, url))
    assert objects(bucket)["out/manifest.parquet"] == (local / "manifest.parquet").read_bytes()


def test_training_from_it_is_refused_with_the_remedy():
    pytest.importorskip("torch")
    from araflow.recognition import experiment, reading

    spec = reading.read("sample_flow", ["manifest=s3://araflow/out"]).spec
    with pytest.raises(SpecError, match="aws s3 sync"):
        experiment.prepare(spec)
