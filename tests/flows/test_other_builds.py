"""Builds as flows: of a dataset that is downloaded first, and as what araflow retry starts again."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import mirrors
import pytest
from commands import Commands
from flow_world import Server

from araflow.build import note
from araflow.build import run as build
from araflow.core.spec_file import parse
from araflow.datasets._sample import draw_sample
from araflow.store.manifest import Manifest

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LICENCE = "CC0 of the drawn"


def test_building_hmdb5_goes_from_download_to_manifest_and_a_second_time_asks_no_server(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands
):
    videos, splits = mirrors.draw(tmp_path / "drawn")
    files = mirrors.hmdb51(videos, splits)
    web.files |= files | mirrors.ucf101(videos)  # the registry lists both
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(mirrors.registry(tmp_path / "registry", web.files, web.url)))
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    arguments = ["build", str(CONFIGS / "hmdb5.yaml"), f"out={out}", "rgb.max_frames=3", "run.workers=1"]
    refused = commands.run(tmp_path, *arguments)
    assert refused.returncode == 1
    assert LICENCE in refused.stderr
    assert "--accept-licence" in refused.stderr
    assert web.requests == []
    assert not (tmp_path / "cache").exists()
    assert not out.exists()

    built = commands.run(tmp_path, *arguments, "--accept-licence")
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stdout.splitlines()[-1].startswith("15 clips listed: 15 done; 15 worked on")
    assert Counter(web.requests) == {"/hmdb51_org.rar": 1, "/test_train_splits.rar": 1}
    manifest = Manifest.read(out)
    (about,) = [value for value in manifest.metadata.values() if isinstance(value, dict) and "licence" in value]
    assert (about["licence"], about["citation"], about["licence_accepted"]) == (LICENCE, "nobody, 2026", True)
    assert {(file["url"], file["size"], file["sha256"]) for file in about["files"]} == {
        (web.url(path), len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()
    }
    rows = manifest.table.to_pylist()
    assert Counter(row["label"] for row in rows) == dict.fromkeys(mirrors.CLASSES, 3)
    assert {row["split"] for row in rows} <= {"train", "test", "unused", None}
    assert {row["source_sha256"] for row in rows} == {hashlib.sha256(data).hexdigest() for data in videos.values()}

    web.requests.clear()
    before = (out / "manifest.parquet").read_bytes()
    again = commands.run(tmp_path, *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to do" in again.stdout.splitlines()[-1]
    assert web.requests == []
    assert (out / "manifest.parquet").read_bytes() == before


def test_a_build_of_prefect_is_retried_as_one_and_all_log_lines_are_json(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    write = note.write
    monkeypatch.setattr(note, "write", lambda *given, **more: write(*given, **{**more, "plain": False}))  # as flows do
    draw_sample(
        tmp_path,
        clips_per_class=2,
        sources_per_class=2,
        width=96,
        height=64,
        seconds=(0.3, 0.5),
        classes=["walk", "run"],
    )
    videos, out = tmp_path / "videos", tmp_path / "out"
    dataset = {"classes": ["walk", "run"], "source": str(videos), "splits": str(tmp_path / "splits")}
    spec = parse({"name": "hmdb5", "dataset": dataset, "run": {"workers": 1}, "out": str(out)})
    victim = sorted((videos / "walk").iterdir())[0]
    good = victim.read_bytes()
    victim.write_text("not a video " * 100)
    build.build(spec)
    victim.write_bytes(good)
    command = [sys.executable, "-m", "araflow", "retry", str(out), "--outcome", "quarantined"]
    environment = server.environment | {"ARAFLOW_LOG_JSON": "1"}  # which counts before Prefect is imported
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=240)
    assert run.returncode == 0, run.stderr
    assert "4 done; 1 worked on" in run.stdout.splitlines()[-1]
    said = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["level"] for line in said if line["level"] not in ("info", "debug")] == []
    assert any(line.get("flow_run", "").startswith("hmdb5-") and "Completed" in line["message"] for line in said)
    assert any(line["logger"] == "araflow.flows" and "1 worked on" in line["message"] for line in said)
