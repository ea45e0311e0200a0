"""A build from an address with a password and a signature: neither is in anything that it leaves behind."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import mirrors
import pytest
from commands import Commands
from flow_world import Server

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

SECRET = b"S3CRET"
SIGNED = "/mine.zip?X-Amz-Signature=S3CRET&v=S3CRET"
MASKED = "mine.zip?…"


def leaks(*folders: Path) -> list[str]:
    """Return the files that hold the secret: notes, receipts, logs, Prefect's database with what is not merged yet."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if SECRET in path.read_bytes()]


@pytest.fixture
def address(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An archive of two classes behind a password and a signature."""
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    videos, _ = mirrors.draw(tmp_path / "drawn", 1)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in list(videos.items())[:2]:
            archive.writestr(name, data)
    web.files[SIGNED] = content.getvalue()
    return str(web.url(SIGNED).replace("//", "//me:S3CRET@"))


def test_what_is_secret_in_an_address_is_kept_nowhere(
    address: str, web: Any, tmp_path: Path, server: Server, commands: Commands
):
    settings = ["split.protocol=random", "rgb.max_frames=3", "run.workers=1", "out=out"]
    built = commands.run(tmp_path, "build", "folder", f"dataset.source={address}", *settings)
    assert built.returncode == 0, built.stdout + built.stderr
    assert MASKED in built.stderr
    wrong = commands.run(
        tmp_path, "build", "folder", f"dataset.source={address.replace('mine', 'none')}", "out=no", ARAFLOW_LOG_JSON="1"
    )
    assert wrong.returncode == 1
    assert "none.zip?…: answered 404" in json.loads(wrong.stderr.splitlines()[-1])["message"]
    run, failed = server.runs()[1], server.runs()[0]
    assert MASKED in json.dumps(run["parameters"], ensure_ascii=False)
    assert "none.zip?…: answered 404" in failed["state"]["message"]
    assert leaks(tmp_path, server.folder) == []
    assert SECRET.decode() not in built.stdout + built.stderr + wrong.stdout + wrong.stderr

    done = next((tmp_path / "out" / "clips").glob("*/*/.araflow.json"))
    done.unlink()
    asked = commands.run(tmp_path, "retry", "out")
    assert asked.returncode == 1
    assert re.search(r"error: dataset.source: http://…@\S+mine.zip\?… .* give all of it again", asked.stderr)
    web.requests.clear()
    other = address.replace("Signature=S3CRET", "Signature=S3CRET2")  # another day, another signature: the same source
    again = commands.run(tmp_path, "retry", "out", f"dataset.source={other}")
    assert "2 done; 1 worked on" in again.stdout.splitlines()[-1], again.stderr
    assert web.requests == []
    assert leaks(tmp_path, server.folder) == []


def test_a_run_that_is_asked_for_is_given_no_secret(address: str, server: Server, commands: Commands, tmp_path: Path):
    asked = commands.run(tmp_path, "run", "build-sample", "-p", f'overrides=["dataset.source={address}"]', "--no-watch")
    assert asked.returncode == 1
    assert "overrides: holds an address with a user" in asked.stderr
    assert leaks(server.folder) == []
