"""The fake of NVIDIA's vpi module, and captures of real devices for it to replay. No Jetson was ever asked."""

import base64
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from contract_suite import Engine

import araflow
from araflow.core.errors import UnavailableError
from araflow.optical.backends import _blocks, vpi
from araflow.optical.backends.vpi import capture as _vpi_capture
from araflow.optical.backends.vpi import presence, probes, process

FAKES = Path(__file__).parents[1] / "fakes"
SOURCE = Path(araflow.__file__).parent / "optical" / "backends" / "vpi"
SURFACE = yaml.safe_load((FAKES / "vpi_surface.yaml").read_text())


# --- the fake itself


def test_every_name_of_the_fake_has_a_source_and_every_use_is_known():
    assert SURFACE["status"] == "unverified"
    for entry in [*SURFACE["names"].values(), *SURFACE["conversions"]]:
        assert entry["source"].startswith(("https://docs.nvidia.com/vpi/", "public programs"))
    text = (SOURCE / "worker.py").read_text()
    used = set(re.findall(r"\bvpi\.((?:Backend|Format|OptFlowQuality)\.\w+|\w+)\b", text))
    used -= {"py", "Backend", "Format", "OptFlowQuality", "available"}
    assert {"asimage", "optflow_dense", "Stream", "Backend.VIC", "Format.BGR8"} <= used
    assert {name for name in used if name not in SURFACE["names"]} - {"optical"} == set()


STRICT = """
import gc, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import vpi
gray, stream = np.zeros((64, 64), np.uint8), vpi.Stream()
wrapped = vpi.asimage(gray, vpi.Format.Y8_ER)
host = np.zeros((64, 64, 3), np.uint8)
def blocks(array=host):
    with stream:
        image = vpi.asimage(array, vpi.Format.BGR8).convert(vpi.Format.Y8_ER, backend=vpi.Backend.CUDA)
        return image.convert(vpi.Format.Y8_ER_BL, backend=vpi.Backend.VIC)
def flow(image, backend=None, **given):
    with stream, backend or vpi.Backend.OFA:
        return vpi.optflow_dense(image, image, **given)
def mutated():
    array = host.copy(); image = blocks(array); array[0] = 9; stream.sync()
def freed():
    image = blocks(host.copy()); gc.collect(); stream.sync()
def unlocked():
    motion = flow(blocks()); stream.sync(); motion.cpu()
def early():
    with flow(blocks()).rlock_cpu(): pass
try:
    eval(sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("version", "code", "says"),
    [
        ("3.2", "flow(blocks(), mode=1)", "TypeError .*incompatible function arguments: mode"),
        ("3.2", "flow(blocks(), gridSize=1)", "TypeError .*gridSize"),
        ("1.1", "vpi.optflow_dense(None, None, gridsize=1)", "TypeError .*gridsize"),
        ("3.2", "flow(wrapped)", "OFA takes Y8_ER_BL, not Y8_ER"),
        ("3.2", "flow(blocks(), vpi.Backend.CUDA)", "dense optical flow on CUDA"),
        ("3.2", "flow(blocks(), vpi.Backend.NVENC)", "NVENC not available on orin"),
        ("4.0", "vpi.Backend.NVENC", "AttributeError"),
        ("1.1", "vpi.Image.rlock_cpu", "AttributeError"),
        ("2.4", "blocks().convert(vpi.Format.Y8_ER, backend=vpi.Backend.CPU)", "AttributeError"),
        ("2.4", "wrapped.convert(vpi.Format.Y8_ER_BL, backend=vpi.Backend.CUDA)", "Y8_ER to Y8_ER_BL on CUDA"),
        ("3.2", "mutated()", "changed before the stream"),
        ("3.2", "freed()", "freed before the stream"),
        ("3.2", "unlocked()", "read without a lock"),
        ("3.2", "early()", "read before the stream"),
    ],
)
def test_the_fake_is_strict(version, code, says):
    run = subprocess.run(
        [sys.executable, "-c", STRICT, str(FAKES), code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FAKE_VPI_VERSION": version},
    )
    assert re.search(says, run.stdout), run.stdout


def test_an_engine_that_the_device_lacks_is_refused_by_name(jetson):
    jetson(version="2.4", device="xavier")
    with process.Worker(
        os.environ[presence.PYTHON], {"engine": "OFA", "quality": "LOW", "grid": 4, "height": 64, "width": 64}
    ) as worker:
        worker.ask(np.zeros((64, 64), np.uint8))
        with pytest.raises(UnavailableError, match="OFA not available on xavier"):
            worker.ask(np.zeros((64, 64), np.uint8))


# --- what a device was seen to do

RECORDED = sorted((Path(__file__).parent / "data").glob("vpi_*.json"))
"""Files that `araflow doctor --vpi-capture` wrote on a real device. None yet: never run on hardware."""


@pytest.fixture(params=["orin 4.0", "xavier 1.1", *RECORDED], ids=str)
def captured(request, jetson, tmp_path):
    """A capture: of the fake, and of each real device that there is a file of."""
    if isinstance(request.param, Path):
        return request.param
    device, version = request.param.split()
    jetson(device=device, version=version, keyword="gridSize" if version == "4.0" else "gridsize")
    path = tmp_path / "capture.json"
    path.write_text(json.dumps(_vpi_capture.capture()))
    return path


def golden_fields(captured):
    """The fields that a device gave for a known picture.

    (engine, quality, grid) to: what was asked (width, height, shift as (right, down) in pixels, repeats), and the
    vectors, int16, (rows, columns, 2), in 1/32 pixel.
    """
    fields = {}
    for engine in ("OFA", "NVENC"):
        for name, golden in captured[engine].items():
            if name.startswith("golden "):
                data = np.frombuffer(zlib.decompress(base64.b64decode(golden["field"])), "<i2").astype(np.int16)
                grid = golden["grid"]
                shape = (-(-golden["height"] // grid), -(-golden["width"] // grid), 2)
                fields[engine, golden["quality"], grid] = (golden, data.reshape(shape))
    return fields


def test_a_capture_replays(captured, jetson):
    seen = json.loads(captured.read_text())
    assert seen["schema"] == _vpi_capture.SCHEMA
    name, facts = seen["found"]["engine"], seen["found"]
    engine = seen[name]
    # What our backend relies on.
    ways = {"OFA": ("Y8_ER",), "NVENC": ("NV12_ER",)}[name]
    for luma in ways:
        assert seen["conversions"][f"BGR8 to {luma} on CUDA"] == "ok"
        assert seen["conversions"][f"{luma} to {luma}_BL on VIC"] == "ok"
    assert engine["size 64x64"] == "ok"
    assert all(engine[f"quality {quality}"] == "ok" for quality in ("LOW", "MEDIUM", "HIGH"))
    assert "ended" not in engine
    if name == "OFA":
        assert [engine[f"grid {grid}"] for grid in (1, 4)] == ["ok", "ok"]
        assert engine[f"keyword {facts['spelling']}"] == "ok"
    # What it means: a known shift comes out, in 1/32 pixel, u to the right, v down, and the same each time.
    fields = {key: value for key, value in golden_fields(seen).items() if key[0] == name}
    assert fields
    for (_, _, grid), (golden, vectors) in fields.items():
        assert golden["repeats"]
        field = _blocks.pixels(vectors, grid, golden["height"], golden["width"])
        assert np.abs(np.median(field[16:-16, 16:-16], axis=(0, 1)) - golden["shift"]).max() < 0.3
    # The fake, made that device, gives those fields through the whole backend.
    jetson(capture=captured)
    for (_, quality, grid), (golden, vectors) in fields.items():
        wanted = {quality, grid} if name == "OFA" else {quality}
        preset = next(preset for preset, has in vpi._QUALITIES.items() if wanted <= set(has))
        pair = [probes.scene(golden["width"], golden["height"], *shift) for shift in ((0, 0), golden["shift"])]
        expected = _blocks.pixels(vectors, grid, golden["height"], golden["width"])
        np.testing.assert_array_equal(Engine("vpi", "hardware", preset).one(*pair), expected)


def test_a_capture_of_a_machine_without_vpi_is_refused(jetson):
    jetson(kind="absent")
    with pytest.raises(UnavailableError, match="--vpi-capture: no NVIDIA vpi module"):
        _vpi_capture.capture()


def test_a_crash_during_the_capture_costs_the_rest_of_one_group(jetson):
    jetson(fault="crash:4")
    seen = _vpi_capture.capture()
    assert seen["OFA"]["grid 4"] == "ok"
    assert seen["OFA"]["ended"] == "ended by SIGSEGV"
    assert "grid 8" not in seen["OFA"]
    assert seen["identity"]["Backend"]
    assert seen["conversions"]["BGR8 to Y8_ER on CUDA"] == "ok"


def test_the_scene_is_the_same_everywhere_and_moves_as_told():
    scene = probes.scene(96, 64, 0, 0)
    assert (scene.dtype, scene.shape) == (np.uint8, (64, 96))
    assert scene.std() > 30
    np.testing.assert_array_equal(probes.scene(96, 64, 3, -2)[:-2, 3:], scene[2:, :-3])
    assert int(scene.astype(np.int64).sum()) == 801404
