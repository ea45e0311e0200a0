"""An ONNX file's metadata say everything: docs/deploy.md's script knows nothing else, and answers as araflow does."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'araflow[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'araflow[export]'")

import recognisers  # noqa: E402

from araflow.core.clip import Clip, ClipRecord, Outcome  # noqa: E402
from araflow.core.errors import SourceError  # noqa: E402
from araflow.core.files import PROOF  # noqa: E402
from araflow.deploy.onnx.export import export  # noqa: E402
from araflow.deploy.runners import kind_of  # noqa: E402
from araflow.media.png import PngEncoder  # noqa: E402
from araflow.recognition import checkpoint, results  # noqa: E402
from araflow.store.manifest import Manifest  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs" / "deploy.md"
SIZES = [(16, 24), (31, 47), (32, 48), (33, 95), (24, 20), (9, 13), (80, 49), (67, 130), (20, 51), (15, 23)]
"""Height and width of each clip's pictures: as wide as the window, less and more than twice that, smaller, odd."""
ALLOWED = 1e-4
SPREAD = 8.0
"""How much the last weights are enlarged, so that probabilities are far from all alike."""


def _moving(random, frames, height, width, channels):
    coarse = random.integers(0, 256, (7, 9 + frames, channels), np.uint8)
    wide = cv2.resize(coarse, (width + 2 * frames, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(wide + random.normal(0, 12, wide.shape), 0, 255).astype(np.uint8)
    return np.stack([noisy[:, 2 * k : 2 * k + width] for k in range(frames)])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Ten drawn clips as a build leaves them, of 7 to 79 frames; whose flow is of ``max_radius``."""
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(15)
    clips, records = [], []
    for number, (height, width) in enumerate(SIZES):
        key, frames = f"{recognisers.LABELS[number % 5]}/{number}", 7 + 8 * number
        own = folder / "clips" / key
        for kind in ("rgb", "u", "v"):
            (own / kind).mkdir(parents=True)
        rgb, flow = (_moving(random, frames, height, width, channels) for channels in (3, 2))
        encoder = PngEncoder(height, width)
        for place in range(frames):
            (own / "rgb" / f"{place:04d}.png").write_bytes(encoder.encode(np.ascontiguousarray(rgb[place])))
        for channel, kind in enumerate("uv"):
            for place in range(frames - 1):
                name = str(own / kind / f"{place:04d}.jpg")
                cv2.imwrite(name, flow[place, :, :, channel], [cv2.IMWRITE_JPEG_QUALITY, 95])
        record = ClipRecord(
            key,
            Outcome.DONE,
            "complete",
            width=width,
            height=height,
            frames=frames,
            flows=frames - 1,
            backend="opencv",
            algorithm="dis",
            preset="fast",
            quantizer="max_radius",
            radii=tuple(random.uniform(1, 30, frames - 1).tolist()),
        )
        (own / PROOF).write_text(json.dumps(record.to_json()))
        records.append(record)
        clips.append(Clip("drawn", key, key.split("/")[0], name=f"{key}.avi"))
    splits = {clip.key: "test" for clip in clips}
    manifest = Manifest.of(
        clips,
        records,
        labels=recognisers.LABELS,
        split_of=splits,
        metadata={"labels": recognisers.LABELS},
        folder=folder,
    )
    (folder / "manifest.parquet").write_bytes(manifest.encode())
    return folder, [folder / "clips" / clip.key for clip in clips]


@pytest.fixture
def answers(tmp_path, capsys, monkeypatch):
    """Run the script of docs/deploy.md, with changes if any: float64 (clips, classes)."""

    def run(model, clips, **changes):
        (text,) = re.findall(
            r'^```python\n("""Print the classes.*?)^```$', DOCS.read_text(encoding="utf-8"), re.M | re.S
        )
        for old, new in changes.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        script = tmp_path / "classify.py"
        script.write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", [str(script), str(model), *map(str, clips)])
        runpy.run_path(str(script))
        return _numbers(capsys.readouterr().out)

    return run


def _numbers(printed):
    return np.array([list(json.loads(line)["probabilities"].values()) for line in printed.splitlines()])


COLOURS = {"frames": 9, "height": 16, "width": 24, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = {**COLOURS, "mean": (0.5,), "std": (0.5,)}
SMALL = {"frames": 4, "height": 21, "width": 17, "mean": (0.4, 0.5), "std": (0.2, 0.3)}
STORED = {"backend": "opencv", "algorithm": "dis", "preset": "fast", "quantizer": "max_radius"}
KINDS = {
    "rgb, every second frame": (
        ("arn_3d", "rgb", COLOURS, PLAIN, {"sample_rate": 2}),
        {"mode": "conv", "segments": 3},
        {"cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR": "cv2.INTER_LINEAR"},
    ),
    "flow in pixels, of the centre": (
        (
            *("arn_2d", "flow", PLAIN, PLAIN),
            {"flow": {**STORED, "scale": "pixels"}, "center_crop": True, "short_side": 20},
        ),
        {},
        {'record["radii"][index]': 'record["radii"][0]'},
    ),
    "both, of unlike lengths and sizes": (
        ("arn_2d", "joint", COLOURS, SMALL, {"flow": STORED, "sampler": "segments"}),
        {"mode": "conv", "segments": 2},
        {"[:, :, ::-1]": ""},
    ),
    "rgb, dense, its end held": (
        ("arn_2d", "rgb", COLOURS, PLAIN, {"sampler": "dense", "short_clip": "repeat", "center_crop": True}),
        {},
        {"np.minimum(own, n - 1) for": "own % n for"},
    ),
    "flow, a frame of each interval": (
        ("arn_2d", "flow", PLAIN, PLAIN, {"flow": STORED, "sampler": "random_interval"}),
        {"mode": "all"},
        {"if SEGMENTS == 1 or": "if SEGMENTS or"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_script_in_the_docs_answers_as_araflow_does_and_a_slip_would_show(kind, world, answers, tmp_path):
    (architecture, modality, rgb, flow, settings), evaluation, slip = KINDS[kind]
    spec = recognisers.spec(architecture, modality, rgb=rgb, flow=flow)
    spec = spec.model_validate({**spec.to_json(), **settings})
    network = recognisers.network_of(spec)
    with torch.no_grad():
        network.get_submodule("fc" if modality != "joint" else "fusion").weight.mul_(SPREAD)
    checkpoint.save(tmp_path / "best.safetensors", network, spec)
    model = export(tmp_path / "best.safetensors", tmp_path / "m.onnx").path
    folder, clips = world
    right = results.evaluate_files(
        [tmp_path / "best.safetensors"], folder, settings={"mode": "center", **evaluation}
    ).evaluation
    order = [clips[[f"{clip.parent.name}/{clip.name}" for clip in clips].index(key)] for key in right.keys]
    windows = {"SEGMENTS = 1 ": f"SEGMENTS = {evaluation.get('segments', 10)} "} if evaluation else {}
    assert np.abs(answers(model, order, **windows) - right.probabilities).max() <= ALLOWED
    assert right.probabilities.max(axis=1).min() > 0.3  # answers that all inputs get alike would prove nothing
    assert np.abs(answers(model, order, **windows, **slip) - right.probabilities).max() > 10 * ALLOWED


def test_the_script_needs_neither_araflow_nor_pytorch(world, answers, tmp_path):
    spec = recognisers.spec("arn_2d")
    model = export(recognisers.saved(tmp_path, spec), tmp_path / "m.onnx").path
    clips = world[1][:2]
    wanted = answers(model, clips)
    program = "import runpy, sys; sys.modules.update(araflow=None, torch=None); sys.argv = sys.argv[1:]; "
    program += "runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", program, str(tmp_path / "classify.py"), str(model), *map(str, clips)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    np.testing.assert_array_equal(_numbers(done.stdout), wanted)


def test_the_metadata_say_how_flow_was_made_and_keep_names_that_hold_semicolons(tmp_path):
    labels, numbers = ("a;b", "c", "Läufe"), {"jpeg_quality": 90, "parameters": {"patch_size": 8}}
    frames = {"fps": 12, "short_side": 112, "format": "jpeg", "jpeg_quality": 80}
    spec = recognisers.spec("arn_2d", "flow", flow=PLAIN)
    spec = spec.model_validate(
        {
            **spec.to_json(),
            "labels": labels,
            "frames": frames,
        }
        | {"flow": {**STORED, "quantizer": "bound", "bound": 15, **numbers}}
    )
    session = onnxruntime.InferenceSession(export(recognisers.saved(tmp_path, spec), tmp_path / "m.onnx").path)
    told = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    assert told["classes"] == list(labels)
    assert "shown at 0, 1/12, 2/12 ... seconds, scaled so that a shorter side above 112 pixels" in told["flow"]["field"]
    assert "JPEG of quality 80, 4:2:0; u to the right" in told["flow"]["field"]
    stored = told["flow"]["stored"]
    assert (stored["quantizer"], stored["bound"], stored["jpeg_quality"]) == ("bound", 15, 90)
    assert stored["parameters"] == {"patch_size": 8} and "preset" not in stored
    assert stored["rule"].startswith("clip(rint((x + bound) * 255 / (2 * bound)), 0, 255)")
    assert told["flow"]["level"] == "as stored" and told["inputs"]["input_of"]["channels"] == ["u", "v"]


def test_predict_of_an_onnx_file_needs_onnxruntime_alone(tmp_path):
    model = export(recognisers.saved(tmp_path, recognisers.spec("arn_2d")), tmp_path / "m.onnx").path
    video = Path(__file__).parents[1] / "guards" / "videos" / "walk" / "walk_one.avi"
    program = """
import importlib.util, sys
absent, find = ("torch", "safetensors", "onnx", "lightning"), importlib.util.find_spec
sys.modules.update(dict.fromkeys(absent))
importlib.util.find_spec = lambda name, *more: None if name in absent else find(name, *more)
from araflow.cli import main
main()
"""
    command = [sys.executable, "-c", program, "predict", str(model), str(video)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(label in done.stdout for label in recognisers.LABELS)
    weights = tmp_path / "best.safetensors"
    done = subprocess.run([*command[:-2], str(weights), str(video)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "torch, safetensors are not installed" in done.stderr


def test_other_kinds_of_files_are_named(tmp_path):
    for name in ("m.onnx", "theirs.pth"):
        (tmp_path / name).write_bytes(b"\x08\x09")
    with pytest.raises(SourceError, match=r"m\.onnx: that is an ONNX file already"):
        export(tmp_path / "m.onnx", tmp_path / "n.onnx")
    with pytest.raises(SourceError, match=r"theirs\.pth: weights of another tool.*network\.weights\.rgb="):
        kind_of(tmp_path / "theirs.pth")
