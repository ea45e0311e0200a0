"""The VPI backend and its worker process, against a fake of NVIDIA's module. No Jetson was ever asked."""

import ast
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import contract_suite
import cv2
import numpy as np
import psutil
import pytest
from contract_suite import Engine, texture, window

import araflow
from araflow import optical
from araflow.build import extract
from araflow.build.recipe import Recipe
from araflow.core.errors import ClipError, SpecError, UnavailableError
from araflow.optical import Availability
from araflow.optical.backends import _blocks, vpi
from araflow.optical.backends.vpi import presence
from araflow.optical.backends.vpi import process as _vpi_process
from araflow.store.address import open_store

SOURCE = Path(araflow.__file__).parent / "optical" / "backends" / "vpi"


# The whole contract on one device; the others differ in how VPI is called, not in what comes out.
@pytest.fixture
def engine(jetson):
    jetson(version="3.2", device="orin")
    return Engine("vpi", "hardware", "accurate")


globals().update(contract_suite.take())


@pytest.mark.parametrize(
    ("version", "device", "keyword", "preset"),
    [
        ("1.1", "xavier", "gridsize", "accurate"),
        ("2.4", "xavier", "gridsize", "balanced"),
        ("2.4", "orin", "gridsize", "fastest"),
        ("2.4", "orin", "gridSize", "balanced"),
        ("4.0", "orin", "gridSize", "fast"),
    ],
)
def test_every_version_finds_shifts(jetson, version, device, keyword, preset):
    jetson(version=version, device=device, keyword=keyword)
    assert vpi.available().present
    still, moved = Engine("vpi", "hardware", preset).all(window(), window(), window(3, -2))
    assert np.abs(still).max() <= 0.05
    assert np.abs(moved[12:-12, 12:-12] - (3, -2)).max() < 0.3
    assert presence.find().facts["spelling"] == (keyword if device == "orin" else "")


# --- what is there


def test_a_machine_without_it_says_where_it_looked_and_how_to_get_it(monkeypatch):
    monkeypatch.setenv(presence.PYTHON, sys.executable)  # a real Python, really isolated
    found = vpi.available()
    assert found == Availability(False, found.detail)
    assert f"no NVIDIA vpi module under {sys.executable}" in found.detail
    assert "apt install python3.10-vpi3" in found.detail
    with pytest.raises(UnavailableError, match="vpi cannot run here: no NVIDIA vpi module"):
        optical.choose("vpi")
    assert vpi.software() == "no VPI"


def test_a_vpi_py_beside_the_worker_is_not_mistaken_for_nvidias(tmp_path: Path):
    shutil.copy(SOURCE / "worker.py", tmp_path)
    shutil.copy(SOURCE / "__init__.py", tmp_path / "vpi.py")
    command = [sys.executable, str(tmp_path / "worker.py"), "probe"]  # as it must not be run: without -I
    wrong = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)[1]
    assert wrong["code"] == "not-nvidia"
    assert wrong["message"].endswith("vpi.py")
    command.insert(1, "-I")
    right = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)[1]
    assert right["code"] == "no-module"


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        ({"kind": "absent"}, "no NVIDIA vpi module"),
        ({"kind": "registry"}, "finds a module vpi that is not NVIDIA's: .*/vpi/__init__.py; pip uninstall VPi"),
        ({"kind": "broken"}, "cannot import its vpi: .*PyUnicode_AsUTF8AndSize.*NumPy below 2"),
        ({"version": "1.0"}, "has VPI 1.0.4; VPI 1.1 .* or newer"),
        ({"reports": "x.y"}, "not NVIDIA's: .*its version reads 'x.y'"),
        ({"device": "pc"}, "OFA not available on dGPU.*on a PC with an NVIDIA GPU use nvof"),
        ({"version": "4.0", "device": "xavier"}, "NVENC: not in this VPI; OFA: .*not available on xavier"),
        ({"fault": "crash:1"}, "probe ended with status -11"),
    ],
)
def test_each_lack_has_its_own_reason(jetson, traits, reason):
    jetson(**traits)
    found = vpi.available()
    assert not found.present
    assert re.search(reason, found.detail), found.detail


def test_a_module_that_does_not_tell_its_version_will_do(jetson):
    jetson(reports="nothing")
    assert vpi.available().detail.startswith("VPI of unknown version on OFA")


def test_a_python_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(presence.PYTHON, "/nowhere/python3.10")
    assert vpi.available().detail == f"{presence.PYTHON} names /nowhere/python3.10, which is not there or cannot be run"


def test_a_program_that_is_no_python_does_no_harm(monkeypatch):
    monkeypatch.setenv(presence.PYTHON, "/bin/true")
    assert "cannot tell whether it has vpi" in vpi.available().detail


def test_without_the_variable_the_systems_pythons_are_asked_in_turn(monkeypatch, jetson):
    absent, present, never = jetson(kind="absent"), jetson(device="xavier", version="2.4"), jetson()
    monkeypatch.delenv(presence.PYTHON)
    monkeypatch.setattr(presence, "_CANDIDATES", ("/nowhere/python3", *map(str, (absent, present, never))))
    presence._find.cache_clear()
    try:
        assert vpi.available() == Availability(True, f"VPI 2.4.4 on NVENC, by {present} ({sys.version.split()[0]})")
        assert f", NumPy {np.__version__}" in vpi.software()
    finally:
        presence._find.cache_clear()


# --- parameters


def test_presets_are_vpis_qualities_and_grids(jetson):
    jetson(device="orin")
    found = {preset: vpi.parameters("hardware", preset) for preset in ("fastest", "fast", "balanced", "accurate")}
    assert found["accurate"] == {"engine": "OFA", "quality": "HIGH", "grid": 1, "levels": 1}
    expected = [("LOW", 4), ("LOW", 1), ("MEDIUM", 1), ("HIGH", 1)]
    assert [(each["quality"], each["grid"]) for each in found.values()] == expected
    jetson(device="xavier", version="2.4")
    assert vpi.parameters("hardware", "accurate") == {"engine": "NVENC", "quality": "HIGH", "grid": 4, "levels": 1}
    jetson(kind="absent")
    assert vpi.parameters("hardware", "accurate") == found["accurate"]


def test_unknown_settings_name_the_allowed_ones():
    with pytest.raises(SpecError, match="vpi has no 'tvl1'; allowed: hardware"):
        vpi.parameters("tvl1", "fast")
    with pytest.raises(SpecError, match=r"'best'.*fastest, fast, balanced, accurate"):
        vpi.parameters("hardware", "best")


# --- frames in, fields out


@pytest.mark.parametrize(("size", "padded"), [((16, 16), (64, 64)), ((64, 80), (64, 80)), ((65, 97), (80, 112))])
def test_padding_repeats_the_edge_and_moves_nothing(size, padded):
    frame = texture(*size, 2).astype(np.uint8)
    out = _blocks.pad(frame)
    assert out.shape == padded
    np.testing.assert_array_equal(out[: size[0], : size[1]], frame)
    assert (out[size[0] :, : size[1]] == frame[-1]).all()
    assert (out[: size[0], size[1] :] == frame[:, -1:]).all()


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_block_vectors_are_thirty_seconds_of_a_pixel_and_keep_their_place(grid):
    vectors = np.random.default_rng(grid).integers(-32768, 32768, (80 // grid, 112 // grid, 2)).astype(np.int16)
    field = _blocks.pixels(vectors, grid, 65, 97)
    assert (field.dtype, field.shape) == (np.float32, (65, 97, 2))
    for y, x in ((0, 0), (3, 4), (64, 96), (17, 30)):
        np.testing.assert_array_equal(field[y, x] * 32, vectors[y // grid, x // grid])


def test_small_frames_are_refused_alike_each_time(jetson):
    jetson()
    one = Engine("vpi", "hardware", "fastest").one
    scene = texture(80, 340, 3).astype(np.uint8)
    for width, height in ((1, 1), (90, 2), (15, 40)):
        with pytest.raises(ClipError, match=f"frame-size: {width}x{height} frames; hardware needs at least 16"):
            one(scene[:height, :width], scene[:height, :width])
    for width, height in ((16, 16), (17, 16), (32, 32), (300, 33), (33, 80)):
        assert one(scene[:height, :width], scene[:height, 1 : width + 1]).shape == (height, width, 2)


def test_a_change_of_size_is_the_clips_fault(engine):
    with pytest.raises(ClipError, match="size-change: 80x72, then 64x72"):
        engine.all(window(), window(), window(width=64))


# --- the worker process


def children():
    return [child for child in psutil.Process().children(recursive=True) if "worker.py" in " ".join(child.cmdline())]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crash:3", "ended by SIGSEGV"),
        ("refuse:3", r"RuntimeError: VPI_ERROR_INTERNAL: the engine says no \(vpi\)"),
        ("hang:3", "hung: no answer within 1 seconds"),
    ],
)
def test_a_failing_worker_is_named_with_the_frame_and_what_happened(jetson, monkeypatch, fault, says):
    monkeypatch.setattr(_vpi_process, "STEP_SECONDS", 1)
    python = jetson(fault=fault)
    stream = Engine("vpi", "hardware", "fast").stream(window(k) for k in range(6))
    next(stream)
    next(stream)
    with pytest.raises(UnavailableError, match=rf"the vpi worker \({python}\), at frame 4\W+{says}"):
        next(stream)
    assert not children()


def test_a_worker_that_cannot_start_shows_its_last_words(jetson):
    python = jetson(used_by="last_words")
    assert vpi.available().present
    python.write_text("#!/bin/sh\necho 'libnvvpi.so.3: cannot open shared object' >&2\nexit 127\n")
    with pytest.raises(UnavailableError, match=r"at frame 1 ended with exit code 127: libnvvpi.so.3: cannot open"):
        Engine("vpi", "hardware", "fast").one(window(height=400, width=400), window(height=400, width=400))


def test_vpi_that_has_gone_meanwhile_is_unavailable(jetson):
    python = jetson(used_by="gone")
    assert vpi.available().present
    python.write_text(python.read_text().replace("exec", "export FAKE_VPI_KIND=absent; exec"))
    with pytest.raises(UnavailableError, match="no module named vpi"):
        Engine("vpi", "hardware", "fast").one(window(), window())


def test_an_absent_vpi_is_refused_by_compute_too(jetson):
    jetson(kind="absent")
    with pytest.raises(UnavailableError, match="no NVIDIA vpi module"):
        Engine("vpi", "hardware", "fast").one(window(), window())


def test_one_process_per_clip_that_ends_with_it(jetson):
    jetson()
    stream = Engine("vpi", "hardware", "fast").stream(window(k) for k in range(4))
    next(stream)
    (first,) = children()
    next(stream)
    assert children() == [first]
    stream.close()
    assert not children()
    assert len(Engine("vpi", "hardware", "fast").all(*(window(k) for k in range(4)))) == 3
    assert not children()


def test_a_failing_source_ends_the_process(jetson):
    jetson()

    def frames():
        yield window()
        yield window(1)
        raise ClipError("truncated", "no more")

    with pytest.raises(ClipError, match="truncated"):
        list(Engine("vpi", "hardware", "fast").stream(frames()))
    assert not children()


@pytest.mark.parametrize(
    ("fault", "height", "outcome", "reason"),
    [
        ("", 64, "done", "complete"),
        ("crash:2", 64, "failed", "error: the vpi worker .* ended by SIGSEGV"),
        ("", 12, "quarantined", "frame-size: 64x12 frames; hardware needs at least 16"),
    ],
)
def test_a_clip_is_failed_by_the_engine_and_quarantined_by_itself(jetson, tmp_path, fault, height, outcome, reason):
    jetson(fault=fault)
    source = tmp_path / "frames"
    source.mkdir()
    for k in range(3):
        cv2.imwrite(str(source / f"{k}.png"), window(k, width=64, height=height))
    recipe = Recipe(
        naming="card",
        max_frames=None,
        backend="vpi",
        algorithm="hardware",
        preset="fast",
        parameters=vpi.parameters("hardware", "fast"),
        quantizer="bound",
        bound=20.0,
        jpeg_quality=90,
    )
    size, digest = extract.hash_source(source)
    record = extract.make(
        extract.Job("walk/one", source, open_store(tmp_path / "out"), recipe, size, digest, keep_rgb=False)
    )
    assert record.outcome == outcome
    assert re.match(reason, record.reason), record.reason


PARENT = """
import itertools, sys, time
from araflow.optical.backends import vpi
from araflow.optical.backends.vpi import process
from araflow.optical.backends.vpi.probes import scene
process.STEP_SECONDS = 1
for _ in vpi.compute((scene(64, 64, k, 0) for k in itertools.count()), "hardware", "fast"):
    print("one", flush=True)
    if len(sys.argv) == 1:
        time.sleep(1000)
"""


@pytest.mark.parametrize("state", ["waiting", "hanging"])
def test_the_worker_ends_when_ours_is_killed(jetson, state):
    jetson(fault="hang:2" if state == "hanging" else "")
    arguments = [sys.executable, "-c", PARENT, *(["on"] if state == "hanging" else [])]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=SOURCE.parents[3])
    with parent, contextlib.closing(parent.stdout):
        assert parent.stdout.readline() == b"one\n"
        (worker,) = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        _, alive = psutil.wait_procs([worker], timeout=10)
        assert not alive


def test_libraries_that_print_do_not_disturb(jetson):
    # The fake prints to stdout when it is imported; were that read as an answer, nothing above would hold.
    run = subprocess.run([jetson(), "-I", SOURCE / "worker.py", "probe"], capture_output=True, check=True)
    assert json.loads(run.stdout)[0] == "found"
    assert b"a banner" in run.stderr


def test_it_runs_under_old_pythons_and_needs_nothing_of_ours():
    for name in ("worker.py", "probes.py"):
        tree = ast.parse((SOURCE / name).read_text(), feature_version=(3, 7))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                assert imported.split(".")[0] in sys.stdlib_module_names, f"{name} imports {imported}"
                assert imported != "__future__", "annotations are of 3.7"
            assert not isinstance(node, ast.NamedExpr | ast.Match)
    loaded = re.findall(r'import_module\("(\w+)"\)', (SOURCE / "worker.py").read_text())
    assert set(loaded) == {"numpy", "vpi"}
