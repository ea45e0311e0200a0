"""The nvof backend against a FAKE driver that refuses, crashes, hangs or is not there; and whether the fake is strict.

The backend was never run on hardware.
"""

import ctypes
import pickle
import re
import subprocess

import pytest
from fakes.nvof_driver import FakeDriver
from fakes.nvof_machine import INNER, flow, installed, window

from araflow.core.errors import UnavailableError
from araflow.optical.backends import nvof
from araflow.optical.backends.nvof import api, presence
from araflow.optical.backends.nvof.cuda_driver import CudaDriver, CudaError
from araflow.optical.backends.nvof.hardware import Engine
from araflow.optical.backends.nvof.session import Session, SessionSettings


@pytest.fixture
def fake():
    with installed() as machine:
        yield machine


# --- refusals


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"missing": ["libcuda.so.1"]}, r"no CUDA driver: libcuda.so.1 cannot be opened .*install NVIDIA's driver"),
        ({"missing": ["cuMemcpy2D_v2"]}, r"libcuda.so.1 lacks cuMemcpy2D_v2: the driver is too old"),
        ({"devices": 0}, r"cuInit answered CUDA_ERROR_NO_DEVICE \(100\)"),
        ({"refuse": {"cuDevicePrimaryCtxRetain": 2}}, r"cuDevicePrimaryCtxRetain answered .* \(2\); nvidia-smi"),
        (
            {"missing": [api.LIBRARY]},
            r"libnvidia-opticalflow.so.1 cannot .* NVIDIA_DRIVER_CAPABILITIES must include video",
        ),
        ({"missing": ["NvOFAPICreateInstanceCuda"]}, r"lacks NvOFAPICreateInstanceCuda: the driver is too old"),
        ({"newest": 0x10}, r"version 2.0 \(it offers up to 1.0\): INVALID_VERSION \(7\); .*newer NVIDIA driver"),
        ({"refuse": {"NvOFAPICreateInstanceCuda": 7}}, r"function table of version 2.0: INVALID_VERSION"),
        ({"refuse": {"create": 2}}, r"a session handle: UNSUPPORTED_DEVICE \(2\); .*Turing on, except TU117; .*MIG"),
        ({"refuse": {"create": 1}}, r"a session handle: OF_NOT_AVAILABLE \(1\)"),
        ({"refuse": {"get_caps": 10}}, r"capability OUTPUT_GRIDS: UNSUPPORTED_FEATURE \(10\), \"the fake was told"),
        ({"largest": (200, 200)}, r"the engine takes pictures of 32x32 to 200x200, not 320x240"),
        ({"refuse": {"init": 8}}, r"320x240, grid 1, fast: OUT_OF_MEMORY \(8\).*fewer workers"),
        ({"refuse": {"buffer_strides": 99}}, r"strides of .*: an unknown status \(99\)"),
    ],
)
def test_each_thing_that_can_be_missing_has_its_own_reason(machine, reason):
    with installed(**machine):
        found = nvof.available()
        assert not found.present
        assert re.search(reason, found.detail), found.detail


def test_what_is_there_is_described_and_nothing_stays_behind(fake):
    found = nvof.available()
    assert found.present
    assert found.detail == (
        "Fake GPU (no hardware): optical-flow engine, grids 1, 2, 4, pictures of 32x32 to 8192x8192, interface 2.0 of "
        "5.0; this backend was never run on hardware"
    )
    fake.check_clean()
    assert nvof.software() == "Fake GPU (no hardware), NVIDIA driver of unknown version, CUDA 12.8, NVOF 5.0"
    fake.check_clean()


def test_software_says_what_is_missing_where_it_is():
    with installed(missing=[api.LIBRARY]):
        assert nvof.software().startswith("none: libnvidia-opticalflow.so.1 cannot be opened")


def test_the_drivers_version_is_read_from_its_own_file(tmp_path):
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 22:50:36 UTC 2025\nGCC 12.2.0\n"
    )
    assert presence.driver_version(file) == "570.86.15"
    assert presence.driver_version(tmp_path / "none") == "of unknown version"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("execute", "computing a pair: GENERIC"),
        ("create_buffer", "input buffer of 80x72 GRAY8: GENERIC"),
        ("set_streams", "the default streams: GENERIC"),
        ("cuCtxSynchronize", "cuCtxSynchronize answered"),
        ("cuMemcpy2D_v2", "cuMemcpy2D_v2 answered"),
    ],
)
def test_a_refusal_in_a_clip_names_the_call_and_leaves_nothing_behind(fake, function, said):
    nvof.available()
    fake.refuse[function] = 11
    with pytest.raises(UnavailableError, match=said):
        flow(window(), window(1))
    assert not fake.handles
    assert not fake.buffers
    fake.refuse.clear()
    assert (flow(window(), window(1))[0][INNER] == (1, 0)).all(), "the next clip is none the worse"


def test_what_cannot_be_destroyed_is_told(fake):
    fields = nvof.compute([window(), window(1)], "hardware", "fast")
    next(fields)
    fake.refuse["destroy_buffer"] = 11
    with pytest.raises(UnavailableError, match="destroy buffer: GENERIC"):
        next(fields)
    fake.refuse.clear()
    fake.violations.clear()  # the handle went although its buffers were still there
    fake.buffers.clear()
    fake.handles.clear()


def test_errors_cross_from_a_worker_process_whole():
    for error in (api.NvofError("init", 5, "words"), CudaError("cuInit", 100, "CUDA_ERROR_NO_DEVICE")):
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_every_status_has_a_name_and_something_to_do():
    for status in list(api.Status)[1:]:
        assert f"{status.name} ({status.value}); " in str(api.NvofError("x", status))


def test_a_driver_with_rows_too_short_is_not_copied_into(fake):
    def short(buffer, info):
        info.contents.count, info.contents.planes[0].x = 1, 8
        return 0

    fake._table["buffer_strides"] = dict(api.FunctionTable._fields_)["buffer_strides"](short)
    with pytest.raises(UnavailableError, match=r"laid the input buffer of 80x72 GRAY8 out as \(\(8, 0\),\)"):
        flow(window(), window())
    assert fake.uploads == 0


# --- the process that looks


def apart(monkeypatch, code, timeout=30.0):
    """Let the probing process run ``code`` instead."""
    real = subprocess.run

    def run(command, **options):
        return real([command[0], "-c", code], **options)

    monkeypatch.setattr(presence.subprocess, "run", run)
    presence.probe_apart.cache_clear()
    try:
        return presence.probe_apart(timeout)
    finally:
        presence.probe_apart.cache_clear()


def test_a_process_of_its_own_answers_for_the_real_libraries():
    presence.probe_apart.cache_clear()
    assert presence.probe_apart() == presence.probe(ctypes.CDLL)


def test_a_driver_that_crashes_is_a_reason(monkeypatch):
    found = apart(monkeypatch, "import os; os.abort()")
    assert not found.present
    assert "was ended by SIGABRT: see nvidia-smi" in found.detail


def test_a_driver_that_hangs_is_a_reason(monkeypatch):
    found = apart(monkeypatch, "import time; time.sleep(60)", timeout=0.3)
    assert not found.present
    assert "did not answer within 0.3 s" in found.detail


def test_a_process_that_fails_gives_its_last_line(monkeypatch):
    found = apart(monkeypatch, "raise SystemExit('no numpy')")
    assert not found.present
    assert "failed: no numpy" in found.detail


def test_whatever_goes_wrong_is_a_reason(monkeypatch):
    def broken(name):
        raise RuntimeError("a strange machine")

    monkeypatch.setattr(nvof, "open_library", broken)
    assert nvof.available().detail == "looking for it failed: RuntimeError: a strange machine"


# --- the fake itself: that it would notice


def test_the_fake_notices_what_a_wrong_client_does():
    fake = FakeDriver()
    engine = Engine(fake.open)
    session = Session(engine, 80, 72, SessionSettings(api.Perf.FAST, 1))
    with pytest.raises(api.NvofError, match=r"INVALID_CALL \(6\), \"a frame that was never uploaded\""):
        session.execute(0)
    with pytest.raises(CudaError):
        engine.close()  # before the session
    assert "the context was released before its sessions were destroyed" in fake.violations
    with pytest.raises(AssertionError):
        fake.check_clean()


def test_a_copy_that_forgets_the_pitch_shows():
    def careless(copy):
        copy.source_pitch = copy.target_pitch = copy.row_bytes
        FakeDriver.copy_rows(copy)

    with installed(memcpy2d=careless):
        (field,) = flow(window(), window(3))
    assert (field[INNER] != (3, 0)).any()


def test_reading_before_the_engine_is_done_shows(fake, monkeypatch):
    monkeypatch.setattr(CudaDriver, "synchronize", lambda self: None)
    fields = nvof.compute([window(), window(3)], "hardware", "fast")
    assert (next(fields)[INNER] != (3, 0)).any()
    monkeypatch.undo()
    fields.close()
