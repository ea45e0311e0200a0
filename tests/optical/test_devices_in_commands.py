"""What the commands say of devices, which are fakes: there, absent, failing. Never on hardware."""

import json
import subprocess
import sys

import here
import pytest
from click.testing import CliRunner

from araflow import optical
from araflow.cli import doctor, main
from araflow.core import resources
from araflow.optical import Availability
from araflow.store.manifest import Manifest


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return here.videos(tmp_path_factory.mktemp("drawn"))


def araflow(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


HEAVY = """
import sys
from click.testing import CliRunner
from araflow.cli import main
for arguments in (["doctor"], ["doctor", "--json"], ["flow", "--list"], ["flow", "--list", "--json"]):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
names = ("torch", "numba", "lightning", "prefect", "fastapi", "sqlalchemy", "yt_dlp", "av", "pyarrow", "pydantic")
print([name for name in names if name in sys.modules], result.output.count("was not tried"))
"""


def test_looking_imports_nothing_that_takes_long_and_says_what_it_did_not_try():
    run = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[] 2"


def test_a_deep_look_tries_what_a_quick_one_leaves_untried(monkeypatch):
    tried = doctor.Finding("library", "prefect server", False, "does not import (broken): pip install it")
    monkeypatch.setattr(doctor, "_prefect_server", lambda: tried)
    for name in ("torch", "numba"):
        monkeypatch.setattr(optical.load(name), "available", lambda: Availability(False, "installed, but broken"))
    quick, deep = (
        {(entry["kind"], entry["name"]): entry for entry in json.loads(araflow("doctor", *more, "--json").stdout)}
        for more in ([], ["--deep"])
    )
    assert list(quick) == list(deep)
    differ = {("backend", "numba"), ("backend", "torch"), ("library", "prefect server")}
    assert {key for key in quick if quick[key] != deep[key]} == differ
    for key in differ:
        assert quick[key]["present"]
        assert "was not tried (araflow doctor --deep)" in quick[key]["detail"]
        assert not deep[key]["present"]


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_what_is_not_installed_is_said_alike_at_a_glance_and_after_trying(monkeypatch, name):
    backend = optical.load(name)
    monkeypatch.setattr(backend, "version_of", lambda module: None)
    found = backend.glance()
    assert not found.present
    monkeypatch.setitem(sys.modules, name, None)
    if name == "torch":
        backend._look.cache_clear()
    try:
        assert backend.available() == found
    finally:
        if name == "torch":
            backend._look.cache_clear()


def test_doctor_names_every_backend_and_its_reason(bare):
    found = [entry for entry in json.loads(araflow("doctor", "--json").stdout) if entry["kind"] == "backend"]
    assert [entry["name"] for entry in found] == list(resources.plugins("optical/backends"))
    reasons = {entry["name"]: entry["detail"] for entry in found}
    for name, reason in (("nvof", "no CUDA driver"), ("vpi", "no NVIDIA vpi module"), ("cuda", "without CUDA")):
        assert reason in reasons[name]
        assert not next(entry for entry in found if entry["name"] == name)["present"]
    assert all(len(reason) > 5 for reason in reasons.values())
    text = "".join(araflow("doctor").stdout.split())
    for name, reason in reasons.items():
        assert name in text
        assert reason[:12].replace(" ", "") in text


def test_doctor_finds_what_is_there(nvof_gpu):
    found = {entry["name"]: entry for entry in json.loads(araflow("doctor", "--json").stdout)}
    assert found["nvof"]["present"]
    assert found["nvof"]["detail"].startswith("Fake GPU (no hardware): optical-flow engine")


def test_the_list_of_backends_says_what_each_has_and_whether_it_runs(bare):
    content = json.loads(araflow("flow", "--list", "--json").stdout)
    listed = {entry["name"]: entry for entry in content["backends"]}
    assert sorted(listed) == sorted(resources.plugins("optical/backends"))
    assert listed["nvof"]["algorithms"] == ["hardware"]
    assert listed["cuda"]["algorithms"] == ["tvl1", "farneback", "brox"]
    assert listed["opencv"]["algorithms"] == ["dis", "farneback", "tvl1", "deepflow"]
    assert listed["opencv"]["present"]
    assert not listed["vpi"]["present"]
    assert "sudo apt install" in listed["vpi"]["detail"]
    assert content["presets"] == ["fastest", "fast", "balanced", "accurate"]
    assert set(content["algorithms"]) == {name for entry in listed.values() for name in entry["algorithms"]}
    text = araflow("flow", "--list").stdout
    for name, entry in listed.items():
        assert f"algorithms of {name}: {', '.join(entry['algorithms'])}" in text
    assert "presets: fastest, fast, balanced, accurate" in text


@pytest.mark.parametrize("name", ["nvof", "vpi", "cuda"])
def test_a_backend_that_is_not_here_is_exit_status_1_and_one_message(bare, videos, tmp_path, name):
    out = tmp_path / "out"
    result = araflow("flow", videos, "--out", out, "--backend", name)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: optical.backend: {name} cannot run here: ")
    assert not out.exists()


def test_a_backend_without_the_algorithm_is_a_wrong_setting(bare, videos, tmp_path):
    result = araflow("flow", videos, "--out", tmp_path / "out", "--backend", "opencv", "--algorithm", "hardware")
    assert result.exit_code == 1
    assert "opencv has no 'hardware'; allowed: auto, dis, farneback, tvl1" in result.stderr


def test_the_command_says_which_backend_auto_took_and_what_was_absent(bare, videos, tmp_path):
    result = araflow("flow", videos, "--out", tmp_path / "out", "--max-frames", "3")
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("optical flow: opencv dis, chosen by auto: OpenCV ")
    assert "absent" not in line
    assert {row["backend"] for row in Manifest.read(tmp_path / "out").table.to_pylist()} == {"opencv"}


@pytest.mark.parametrize(("fault", "status", "outcome"), [("", 0, "done"), ("crash:2", 3, "failed")])
def test_real_worker_processes_reach_the_engine_of_a_jetson(jetson, videos, tmp_path, fault, status, outcome):
    jetson(fault=fault)
    result = araflow("flow", videos, "--out", tmp_path / "out", "--backend", "vpi", "--max-frames", "3")
    assert result.exit_code == status, result.output
    rows = Manifest.read(tmp_path / "out").table.to_pylist()
    assert {row["outcome"] for row in rows} == {outcome}
    assert {(row["backend"], row["algorithm"], row["preset"]) for row in rows} == {("vpi", "hardware", "balanced")}
    if fault:
        assert all("SIGSEGV" in row["reason"] for row in rows)
        jetson()
        assert (
            araflow("flow", videos, "--out", tmp_path / "out", "--backend", "vpi", "--max-frames", "3").exit_code == 0
        )
        assert Manifest.read(tmp_path / "out").outcomes() == {"done": 2}


def test_a_capture_without_a_jetson_is_one_message(bare, tmp_path):
    result = araflow("doctor", "--vpi-capture", tmp_path / "orin.json")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --vpi-capture: no NVIDIA vpi module under ")
    assert not (tmp_path / "orin.json").exists()


def test_a_capture_that_cannot_be_written_is_one_message(jetson, tmp_path):
    jetson(version="3.2", device="orin")
    (tmp_path / "no folder").touch()
    result = araflow("doctor", "--vpi-capture", tmp_path / "no folder" / "orin.json")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "orin.json" in line


def test_a_capture_of_a_device_is_written(jetson, tmp_path):
    jetson(version="3.2", device="orin")
    result = araflow("doctor", "--vpi-capture", tmp_path / "orin.json")
    assert result.exit_code == 0, result.output
    assert f"written: {tmp_path / 'orin.json'}" in result.stdout
    captured = json.loads((tmp_path / "orin.json").read_text())
    assert captured["found"]["engine"] == "OFA"
