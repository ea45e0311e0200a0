"""Whole builds on devices that are fakes: what the rows say, and what a device that fails costs. Never on hardware."""

import sys
from pathlib import Path

import here
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import cv2_cuda

from araflow.build import extract
from araflow.core.errors import SourceError, UnavailableError
from araflow.optical import Availability
from araflow.optical.backends import cuda, nvof, vpi
from araflow.optical.backends import torch as torch_backend
from araflow.store.address import open_store
from araflow.store.audit import validate

NVOF = "Fake GPU (no hardware), NVIDIA driver of unknown version, CUDA 12.8, NVOF 5.0"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return here.videos(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def make(monkeypatch, videos, tmp_path):
    """Build three frames of each video into ``out``; return manifest and jobs."""

    def run(run=None, **flow):
        return here.made(monkeypatch, videos, tmp_path / "out", run, {"max_frames": 3}, **flow)

    return run


# --- what the rows say


def test_rows_of_nvof_say_backend_algorithm_preset_and_the_driver(nvof_gpu, make):
    manifest, _ = make(backend="auto", preset="accurate")
    for row in manifest.table.to_pylist():
        assert (row["outcome"], row["reason"]) == ("done", "complete")
        assert (row["backend"], row["algorithm"], row["preset"]) == ("nvof", "hardware", "accurate")
        assert row["software"] == f"{extract.software()}, {NVOF}"
    assert validate(manifest) == []
    assert manifest.metadata["software"] == f"{extract.software()}, {NVOF}"


@pytest.mark.parametrize(("algorithm", "taken"), [("auto", "tvl1"), ("brox", "brox"), ("farneback", "farneback")])
def test_rows_of_cuda_have_no_preset(make, monkeypatch, algorithm, taken):
    cv2_cuda.install(monkeypatch)
    manifest, _ = make(backend="cuda", algorithm=algorithm, preset="fast")
    for row in manifest.table.to_pylist():
        assert (row["outcome"], row["backend"], row["algorithm"], row["preset"]) == ("done", "cuda", taken, None)
        assert row["software"].endswith(f", {cuda.software()}")
    assert validate(manifest) == []


def test_rows_of_vpi_say_version_engine_and_numpy(make, jetson):
    jetson(version="3.2", device="orin")
    manifest, _ = make(backend="vpi")
    for row in manifest.table.to_pylist():
        assert (row["outcome"], row["backend"], row["algorithm"], row["preset"]) == (
            "done",
            "vpi",
            "hardware",
            "balanced",
        )
        assert row["software"] == f"{extract.software()}, {vpi.software()}"
        assert "VPI 3.2" in row["software"]
        assert "OFA" in row["software"]


@pytest.mark.parametrize(("algorithm", "preset"), [("auto", "fastest"), ("farneback", None), ("tvl1", None)])
def test_rows_of_opencv_say_no_more_than_before(make, algorithm, preset):
    manifest, _ = make(backend="opencv", algorithm=algorithm, preset="fastest")
    for row in manifest.table.to_pylist():
        assert (row["backend"], row["preset"]) == ("opencv", preset)
        assert row["algorithm"] == (algorithm if algorithm != "auto" else "dis")
        assert row["software"] == extract.software(), "OpenCV's version once"


def test_another_engine_makes_the_flow_again_and_keeps_the_frames(nvof_gpu, make, tmp_path):
    make(backend="opencv")
    rgb = {name: data for name, data in here.files(tmp_path / "out" / "clips").items() if "/rgb/" in name}
    _, jobs = make(backend="nvof")
    assert [job.keep_rgb for job in jobs] == [True, True]
    after = here.files(tmp_path / "out" / "clips")
    assert {name: after[name] for name in rgb} == rgb
    assert make(backend="nvof")[1] == []
    assert make(backend="auto")[1] == [], "the same engine by another name"


# --- a device that fails


def lose_cuda(monkeypatch, jetson):
    def lost(self, first, second):
        raise cv2_cuda.cv2.error("OpenCV(fake) error: (-217:Gpu API call) unspecified launch failure in 'calc'")

    cv2_cuda.install(monkeypatch)
    monkeypatch.setattr(cv2_cuda.FarnebackOpticalFlow, "twin", lost)
    monkeypatch.setattr(cuda, "available", lambda: Availability(True, "a fake that is about to fail"))
    return {"backend": "cuda", "algorithm": "farneback"}


def lose_vpi(monkeypatch, jetson):
    jetson(fault="refuse:2")
    return {"backend": "vpi"}


def lose_torch(monkeypatch, jetson):
    pytest.importorskip("torch")
    import torch

    def lost(tensor, device):
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronous")

    monkeypatch.setattr(torch_backend, "_look", lambda: ("cuda", "a fake that is about to fail"))
    monkeypatch.setattr(torch_backend, "_versions", lambda device: "PyTorch on a fake")
    monkeypatch.setattr(torch_backend, "_batch_size", lambda device, height, width: 1)
    monkeypatch.setattr(torch.Tensor, "to", lost)
    return {"backend": "torch"}


def lose_nvof(monkeypatch, jetson):
    return {"backend": "nvof"}


@pytest.mark.parametrize("lose", [lose_nvof, lose_cuda, lose_vpi, lose_torch])
def test_a_device_that_is_lost_is_the_same_reason_whatever_the_backend(nvof_gpu, jetson, make, monkeypatch, lose):
    flow = lose(monkeypatch, jetson)
    if flow == {"backend": "nvof"}:
        monkeypatch.setattr(nvof, "available", lambda: Availability(True, "a fake that is about to fail"))
        nvof_gpu.refuse["execute"] = 11
    manifest, _ = make(**flow)
    nvof_gpu.refuse.clear()
    for row in manifest.table.to_pylist():
        assert row["outcome"] == "failed", row["reason"]
        assert row["reason"].startswith("error: "), "and not io-error, which is of files"
        assert "\n" not in row["reason"]
        assert any(word in row["reason"] for word in ("launch failure", "VPI_ERROR", "GENERIC")), row["reason"]


@pytest.fixture
def there(monkeypatch):
    """The device is found when the run begins, as one is that fails later."""
    monkeypatch.setattr(nvof, "available", lambda: Availability(True, "a fake that is about to fail"))


@pytest.mark.parametrize("function", ["execute", "init", "cuCtxSynchronize"])
def test_a_failing_device_fails_the_clips_and_the_next_run_tries_again(nvof_gpu, there, make, function):
    nvof_gpu.refuse[function] = 11
    manifest, jobs = make(backend="nvof")
    assert len(jobs) == 2, "the run goes on to the next clip"
    for row in manifest.table.to_pylist():
        assert row["outcome"] == "failed"
        assert row["reason"].startswith("error: ")
        assert len(row["reason"]) > 20
        assert (row["path"], row["flow_bytes"], row["lossless_bytes"], row["status"]) == (None, None, None, None)
        assert (row["backend"], row["preset"]) == ("nvof", "balanced")
        assert open_store(manifest.folder).find(row["key"]).outcome == "failed"
    assert validate(manifest) == []
    assert not (manifest.folder / "clips").exists() or not any((manifest.folder / "clips").rglob("*.jpg"))
    nvof_gpu.refuse.clear()
    manifest, jobs = make(backend="nvof")
    assert len(jobs) == 2
    assert manifest.outcomes() == {"done": 2}
    assert make(backend="nvof")[1] == []
    assert not list((manifest.folder / ".araflow" / "records").rglob("*.json")), "no record of the failure stays"


def test_a_device_that_fails_in_one_clip_costs_that_one(nvof_gpu, make, monkeypatch):
    real, seen = nvof.compute, []

    def once(frames, algorithm, preset):
        seen.append(algorithm)
        if len(seen) == 1:
            raise UnavailableError("computing a pair: GENERIC (11): the GPU fell off the bus")
        return real(frames, algorithm, preset)

    monkeypatch.setattr(nvof, "compute", once)
    manifest, _ = make(backend="nvof")
    reasons = sorted(row["reason"] for row in manifest.table.to_pylist())
    assert reasons == ["complete", "error: computing a pair: GENERIC (11): the GPU fell off the bus"]
    monkeypatch.setattr(nvof, "compute", real)
    manifest, jobs = make(backend="nvof")
    assert (len(jobs), manifest.outcomes()) == (1, {"done": 2})


def test_a_failing_device_leaves_what_an_earlier_run_made(nvof_gpu, there, make, tmp_path):
    make(backend="nvof")
    before = here.files(tmp_path / "out" / "clips")
    nvof_gpu.refuse["execute"] = 11
    manifest, _ = make(backend="nvof", preset="fast")
    assert manifest.outcomes() == {"failed": 2}
    assert here.files(tmp_path / "out" / "clips") == before
    nvof_gpu.refuse.clear()


def test_a_failing_device_ends_a_run_that_is_to_stop(nvof_gpu, there, make):
    nvof_gpu.refuse["execute"] = 11
    with pytest.raises(SourceError, match=r"failed: error: .*computing a pair: .*run.on_error is stop"):
        make({"on_error": "stop"}, backend="nvof")
    nvof_gpu.refuse.clear()


def test_a_device_that_is_gone_before_the_run_is_one_error_and_no_rows(bare, make, tmp_path):
    with pytest.raises(UnavailableError, match="nvof cannot run here"):
        make(backend="nvof")
    assert not (tmp_path / "out").exists()
