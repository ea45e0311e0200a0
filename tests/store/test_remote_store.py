"""An output in object storage: the same bytes as in a folder, nothing half there, whatever goes wrong.

The server is OpenStack Swift, over HTTP on loopback; boto3, which is not under test, says what it holds.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
from click.testing import CliRunner
from store_world import KEY, make, record

from araflow import cli
from araflow.build import run as build
from araflow.build.pool import WorkerPool
from araflow.core.errors import OutputError, SpecError, UnavailableError
from araflow.core.spec import BuildSpec
from araflow.core.spec_file import parse
from araflow.store import lease, ownership
from araflow.store.address import open_path, open_store
from araflow.store.audit import validate
from araflow.store.manifest import Manifest

pytestmark = [pytest.mark.slow, pytest.mark.s3]
HERE = Path(__file__).parent
NOTE = ".araflow/build.json"
"""Names the output itself."""
KILLS = 2
"""Of whole builds; each change to the storage by itself is tried, too."""

BUILD = """
import sys
from araflow.build import run as build
from araflow.core import spec

if __name__ == "__main__":
    build.build(spec.BuildSpec.model_validate_json(sys.argv[1]))
"""

UPLOADS = """
import os, signal, sys, traceback
import s3fs
from araflow.store.address import open_store
from store_world import make, record

url, fingerprint, keep_rgb = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
original = s3fs.S3FileSystem._call_s3

def killing(at):
    count = 0
    async def call(self, method, *args, **kwargs):
        nonlocal count
        count += method in {"put_object", "delete_object", "delete_objects"}
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return await original(self, method, *args, **kwargs)
    return call

for line in sys.stdin:  # a fork is faster than to import it all each time
    child = os.fork()
    if not child:
        try:
            s3fs.S3FileSystem._call_s3 = killing(int(line))
            with open_store(url).session() as store:
                make(store, record(fingerprint=fingerprint), keep_rgb=keep_rgb)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    with WorkerPool(1) as pool:
        yield pool


@pytest.fixture(autouse=True)
def warm(workers: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker process for all builds: a cold one takes seconds."""
    monkeypatch.setattr(build, "WorkerPool", lambda _: contextlib.nullcontext(workers))


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
        "rgb": {"max_frames": 3},  # few objects: each costs the server some hundredths of a second
        "optical": {"preset": "fastest", **optical},
        "run": {"workers": 1, "retries": 0},
        "out": out,
    }
    return parse(tree)


def objects(bucket: Any) -> dict[str, str]:
    """Names of the objects, each with the MD5 of its content, which the server makes."""
    return {item.key: item.e_tag.strip('"') for item in bucket.objects.all() if not item.key.endswith(NOTE)}


def tree(folder: Path, prefix: str = "out") -> dict[str, str]:
    """The same of a folder, but what only folders have."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    names.pop(".araflow/lock", None)
    return {
        f"{prefix}/{name}": hashlib.md5(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.endswith(NOTE)
    }


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    with WorkerPool(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "WorkerPool", lambda _: contextlib.nullcontext(pool))
        build.build(settings(source, str(out)))
    return out


def run(*words: str) -> Any:
    return CliRunner().invoke(cli.main, words)


# --- the same as in a folder ---


def test_it_holds_what_a_folder_holds_and_a_second_run_does_nothing(bucket: Any, source: Path, local: Path):
    url = f"s3://{bucket.name}/a folder"
    made = build.build(settings(source, url))
    assert made.outcomes() == {"done": 5, "quarantined": 1}
    expected = tree(local, "a folder")
    assert objects(bucket) == expected
    times = {item.key: item.last_modified for item in bucket.objects.all() if not item.key.endswith("build.json")}

    worked: list[bool] = []
    build.build(settings(source, url), on_record=lambda record, made: worked.append(made))
    assert worked == [False] * 6
    assert objects(bucket) == expected
    assert times == {item.key: item.last_modified for item in bucket.objects.all() if item.key in times}

    assert "(all)       6     5" in run("manifest", "show", url).output
    checked = run("manifest", "validate", url)
    assert (checked.exit_code, checked.stdout) == (0, "6 rows, 0 differences\n")
    assert run("manifest", "diff", url, str(local)).stdout == "0 differences\n"
    victim = next(item for item in bucket.objects.all() if "/u/" in item.key)
    bucket.Object(victim.key).put(Body=b"\xff\xd8no JPEG")
    checked = run("manifest", "validate", url)
    assert checked.exit_code == 1
    assert "does not decode" in checked.output and "flow_bytes says" in checked.output
    build.build(settings(source, url))  # the clip is not whole, so it is made anew
    assert objects(bucket) == expected


def test_a_copy_of_it_is_an_output(bucket: Any, source: Path, local: Path, tmp_path: Path):
    build.build(settings(source, f"s3://{bucket.name}/out"))
    for item in bucket.objects.all():
        path = tmp_path / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.get()["Body"].read())
    assert validate(Manifest.read(tmp_path / "out")) == []
    worked: list[bool] = []
    build.build(settings(source, str(tmp_path / "out")), on_record=lambda record, made: worked.append(made))
    assert worked == [False] * 6
    assert tree(tmp_path / "out") == tree(local)


def test_changed_settings_make_flow_anew_and_keep_the_frames(bucket: Any, source: Path, local: Path, tmp_path: Path):
    url = f"s3://{bucket.name}/out"
    build.build(settings(source, url))
    before = {item.key: item.last_modified for item in bucket.objects.all() if "/rgb/" in item.key}
    assert before
    time.sleep(1.1)  # times of objects are in whole seconds
    build.build(settings(source, url, bound=5.0))
    shutil.copytree(local, tmp_path / "out")
    build.build(settings(source, str(tmp_path / "out"), bound=5.0))
    assert {item.key: item.last_modified for item in bucket.objects.all() if "/rgb/" in item.key} == before
    assert objects(bucket) == tree(tmp_path / "out")


# --- killed ---


@pytest.mark.parametrize("keep_rgb", [pytest.param(False, marks=pytest.mark.proof), True])
def test_killed_at_any_change_to_the_storage_nothing_half_there_counts(bucket: Any, keep_rgb: bool, tmp_path: Path):
    url = f"s3://{bucket.name}/out"
    store = open_store(url)
    older, newer = record(fingerprint="older"), record(fingerprint="newer")
    with store.session() as bound:
        make(bound, newer)
        expected = objects(bucket)
    command = [sys.executable, "-c", UPLOADS, url, "newer", str(keep_rgb)]
    path = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])])
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "ARAFLOW_CACHE": str(tmp_path)},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for step in range(1, 100):
            with store.session() as bound:
                make(bound, older, keep_rgb=step > 1)
            process.stdin.write(f"{step}\n")
            process.stdin.flush()
            ended = int(process.stdout.readline())
            assert ended in {0, signal.SIGKILL}, "the process says why"
            found = store.find(KEY)
            if found == older:
                assert step <= 2, "its proof goes first, but for the list of its files, which comes before"
            elif found is not None:
                assert found == newer
                assert {name: one for name, one in objects(bucket).items() if "/placing/" not in name} == expected
            with store.session() as bound:
                make(bound, newer, keep_rgb=store.find_made(KEY) is not None)
            ownership.settle(store.place)  # as the next run does when it begins
            assert objects(bucket) == expected
            if not ended:
                break
        process.stdin.close()
    assert step > 5


def test_a_build_killed_while_uploading_is_finished_by_the_next(bucket: Any, source: Path, local: Path):
    url = f"s3://{bucket.name}/out"
    expected = tree(local)
    rng = random.Random(0)
    for _ in range(KILLS):
        before = sum(1 for _ in bucket.objects.all())
        aim = before + rng.randrange(5, len(expected) // KILLS)
        command = [sys.executable, "-c", BUILD, settings(source, url).model_dump_json()]
        with subprocess.Popen(command, cwd=HERE.parents[1]) as process:
            while sum(1 for _ in bucket.objects.all()) < aim and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        there = objects(bucket)
        for name in there:
            if name.endswith("/.araflow.json"):  # whole: every object of the clip is as it shall be
                clip = name.rpartition("/")[0] + "/"
                assert {n: c for n, c in there.items() if n.startswith(clip)} == {
                    n: c for n, c in expected.items() if n.startswith(clip)
                }
    build.build(settings(source, url))
    assert objects(bucket) == expected


# --- held, lost, forbidden ---


def test_a_second_run_is_refused_with_who_holds_it_and_a_killed_ones_hold_is_taken(bucket: Any, tmp_path: Path):
    url = f"s3://{bucket.name}/out"
    with open_store(url).locked() as bound:
        assert open_store(url).is_live(bound.session_id)
        with pytest.raises(OutputError, match="another araflow run is writing here"), open_store(url).locked():
            pass
        code = f"from araflow.store.address import open_store\nwith open_store({url!r}).locked(): pass"
        environment = os.environ | {"ARAFLOW_CACHE": str(tmp_path)}  # as on another machine
        other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert f"another araflow run is writing here (on {os.uname().nodename}, process {os.getpid()})" in other.stderr
    assert not open_store(url).is_live(bound.session_id)
    assert not list(bucket.objects.all())
    code = f"from araflow.store.address import open_store\nimport os\nwith open_store({url!r}).locked(): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert [item.key for item in bucket.objects.all()] == ["out/.araflow/lock.json"]
    with open_store(url).locked():
        pass
    assert not list(bucket.objects.all())


def test_a_hold_is_as_old_as_the_storage_says(bucket: Any, monkeypatch: pytest.MonkeyPatch):
    url = f"s3://{bucket.name}/out"
    far = {"session": "other", "host": "far", "machine": "far 1", "pid": 7, "time": 0.0}  # a clock that is far behind
    bucket.Object("out/.araflow/lock.json").put(Body=json.dumps(far).encode())
    with pytest.raises(OutputError, match=r"on far, process 7"), open_store(url).locked():
        pass
    monkeypatch.setattr(lease, "_SECONDS_TO_DIE", -60.0)
    with open_store(url).locked():
        pass
    assert not list(bucket.objects.all())


def test_what_cannot_be_reached_is_one_clear_error(bucket: Any, source: Path, monkeypatch: pytest.MonkeyPatch):
    url = f"s3://{bucket.name}/out"
    with pytest.raises(OutputError, match=r"s3://absent/out: .*no such bucket.*AWS_PROFILE"):
        build.build(settings(source, "s3://absent/out"))
    with pytest.raises(OutputError, match=r"nonsense://x: .*check the address"):
        open_store("nonsense://x")
    assert f"{url}: no such manifest" in run("manifest", "show", url).output
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        _forget_connections()
        for ask in (lambda: build.build(settings(source, url)), lambda: Manifest.read(open_path(url))):
            with pytest.raises(OutputError, match=r"out: .*check the address, the credentials \(AWS_PROFILE"):
                ask()
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.setenv("HOME", "/nowhere")
        _forget_connections()
        with pytest.raises(OutputError, match=r"out: NoCredentialsError: .*AWS_PROFILE"):
            build.build(settings(source, url))
    _forget_connections()
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(UnavailableError, match=r"pip install 'araflow\[s3\]'"):
        open_store(url)


def _forget_connections() -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def test_one_that_may_only_be_read_says_so_and_can_be_read(
    bucket: Any, source: Path, local: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"s3://{bucket.name}/out"
    build.build(settings(source, url))
    before = objects(bucket)
    bucket.Acl().put(ACL="public-read")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.READERS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.READERS_SECRET)
    _forget_connections()
    assert run("manifest", "validate", "--quick", url).stdout == "6 rows, 0 differences\n"
    with pytest.raises(OutputError, match=r"out: PermissionError: .*credentials"):
        build.build(settings(source, url))
    _forget_connections()
    assert objects(bucket) == before


def test_a_cache_folder_that_cannot_be_written_says_so(bucket: Any, source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARAFLOW_CACHE", "/dev/null/cache")
    with pytest.raises(OutputError, match=r"/dev/null/cache/out-\w+: cannot be written to: Not a directory"):
        build.build(settings(source, f"s3://{bucket.name}/out"))
    assert not list(bucket.objects.all())


def test_training_from_it_is_refused_with_the_remedy(bucket: Any):
    pytest.importorskip("torch")
    from araflow.recognition import experiment

    spec = experiment.read("sample_flow", [f"manifest=s3://{bucket.name}/out"]).spec
    with pytest.raises(SpecError, match=r"aws s3 sync"):
        experiment.prepare(spec)


def test_storage_that_goes_away_ends_the_run_clearly_and_the_rerun_completes(
    bucket: Any, source: Path, local: Path, server: s3_server.Server
):
    url = f"s3://{bucket.name}/out"

    def lose(record: object, made: bool) -> None:
        if made:
            server.end()

    try:
        with pytest.raises(OutputError, match=r"out: EndpointConnectionError: .*what is done is kept: run it again"):
            build.build(settings(source, url), on_record=lose)
    finally:
        server.end()
        server.begin()
    build.build(settings(source, url))
    assert objects(bucket) == tree(local)
