"""DeepStream's files against hand-written ones, and its order of values against the network itself."""

import configparser
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'araflow[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'araflow[export]'")

import recognisers  # noqa: E402

from araflow.cli.deepstream import deepstream as command  # noqa: E402
from araflow.core.errors import OutputError, SpecError  # noqa: E402
from araflow.core.written import LIST  # noqa: E402
from araflow.deploy import deepstream  # noqa: E402
from araflow.deploy.onnx import contract  # noqa: E402
from araflow.deploy.onnx.export import export  # noqa: E402
from araflow.recognition import checkpoint  # noqa: E402
from araflow.recognition.data import windows as data  # noqa: E402

GOLDENS = Path(__file__).parent / "goldens"


def parsed(text: str) -> dict[str, dict[str, str]]:
    reader = configparser.ConfigParser(interpolation=None)
    reader.read_string(text)
    return {name: dict(reader[name]) for name in reader.sections()}


@pytest.mark.parametrize("name", ["arn_2d", "arn_3d"])
def test_keys_and_values_are_the_documented_ones(name):
    texts = deepstream.files(recognisers.published(name), sources=4)
    assert parsed(texts["config_preprocess.txt"]) == parsed((GOLDENS / f"{name}_preprocess.txt").read_text())
    assert parsed(texts["config_infer.txt"]) == parsed((GOLDENS / "infer_fp16.txt").read_text())
    assert texts["labels.txt"] == "push;fall_floor;walk;run;ride_bike\n"
    assert "Never run" in texts["README.md"] and "nvstreammux name=m batch-size=4" in texts["README.md"]


def test_what_the_recogniser_is_reaches_the_files():
    own = {"frames": 16, "height": 112, "width": 96, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    model = recognisers.published("r3d_18", precision="fp32", batch=2, rgb=own, sample_rate=3)
    texts = deepstream.files(model, sources=2, stride=8, frame_size=(1920, 1080))
    found = parsed(texts["config_preprocess.txt"])
    assert found["property"]["network-input-shape"] == "2;3;16;112;96"
    assert (found["property"]["processing-width"], found["property"]["processing-height"]) == ("96", "112")
    scales = [float(text) for text in found["user-configs"]["channel-scale-factors"].split(";")]
    offsets = [float(text) for text in found["user-configs"]["channel-mean-offsets"].split(";")]
    np.testing.assert_allclose(scales, [0.01712475, 0.01750700, 0.01742919], rtol=1e-6)  # 1 / (255 × std)
    np.testing.assert_allclose(offsets, [123.675, 116.28, 103.53], rtol=1e-9)
    assert (found["user-configs"]["subsample"], found["user-configs"]["stride"]) == ("2", "8")
    assert found["group-0"]["roi-params-src-1"] == "0;0;1920;1080"
    inference = parsed(texts["config_infer.txt"])["property"]
    assert (inference["network-mode"], inference["batch-size"]) == ("0", "2")
    assert "after 46 frames" in texts["README.md"]  # 15 steps of 3, and the first


def test_a_centre_crop_becomes_the_region_of_the_frame():
    texts = deepstream.files(recognisers.published("arn_3d", center_crop=True), frame_size=(1280, 720))
    # 1280×720 becomes 455×256, of which the 224×224 that begin at (116, 16) are taken: 630×630 of the frame's pixels
    assert parsed(texts["config_preprocess.txt"])["group-0"]["roi-params-src-0"] == "326;45;630;630"


@pytest.mark.parametrize(
    ("name", "modality", "model", "settings", "message"),
    [
        ("arn_3d", "flow", {}, {}, "takes flow, but DeepStream's sequence library collects R, G and B frames alone"),
        ("arn_3d", "joint", {}, {}, "takes rgb and flow, but DeepStream's"),
        ("arn_3d", "rgb", {"sampler": "random_interval"}, {}, "sampler: .* random_interval.*data.sampler=consecutive"),
        ("arn_3d", "rgb", {"labels": ("a;b", "c")}, {}, "labels: 'a;b' holds what separates labels"),
        ("arn_3d", "rgb", {"batch": 2}, {"batch": 4}, r"batch: 4, but m\.onnx was exported for 2 windows"),
        ("arn_3d", "rgb", {}, {"batch": 2, "sources": 3}, "batch: 2 is too few for 3 sources: give 3 or more"),
        ("arn_3d", "rgb", {}, {"stride": 0}, "1 or more"),
    ],
)
def test_what_deepstream_cannot_do_is_refused_with_the_reason(name, modality, model, settings, message):
    with pytest.raises(SpecError, match=message):
        deepstream.files(recognisers.published(name, modality, **model), **settings)


@pytest.mark.parametrize("name", ["arn_2d", "arn_3d"])
def test_a_tensor_as_deepstream_lays_it_out_gives_the_networks_own_logits(name, tmp_path):
    own = {"frames": 5, "height": 16, "width": 24, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.5, 0.3)}
    file = recognisers.saved(tmp_path, recognisers.spec(name, rgb=own))
    model = contract.read(export(file, tmp_path / "m.onnx").path)
    settings = parsed(deepstream.files(model, batch=1)["config_preprocess.txt"])
    shape = [int(text) for text in settings["property"]["network-input-shape"].split(";")]
    scales, offsets = (
        [np.float32(text) for text in settings["user-configs"][key].split(";")]
        for key in ("channel-scale-factors", "channel-mean-offsets")
    )
    frames = np.random.default_rng(1).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)

    def laid_out(channels: tuple[int, int, int], order: range) -> np.ndarray:
        memory = np.empty(3 * 5 * 16 * 24, np.float32)  # one run of values, as the library's kernel writes them
        for channel in range(3):
            for place, frame in enumerate(order):
                start = (channel * 5 + place) * 16 * 24
                plane = frames[frame, :, :, channels[channel]].astype(np.float32)
                memory[start : start + 16 * 24] = ((plane - offsets[channel]) * scales[channel]).ravel()
        return memory.reshape(shape)

    session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])

    def run(tensor: np.ndarray) -> np.ndarray:
        return session.run(["fc_pred"], {settings["property"]["tensor-name"]: tensor})[0]

    network, spec = checkpoint.load(file)
    window = data.tensor_of(frames, "rgb", spec.stream("rgb"))
    with torch.no_grad():
        right = network(window[None]).numpy()
    allowed = 1e-5 * np.abs(right).max()
    assert np.abs(run(laid_out((0, 1, 2), range(5))) - right).max() <= allowed
    for wrong in (laid_out((2, 1, 0), range(5)), laid_out((0, 1, 2), range(4, -1, -1))):  # so that order is seen at all
        assert np.abs(run(wrong) - right).max() > 100 * allowed


def test_the_command_writes_a_folder_to_take_along(tmp_path):
    file = export(recognisers.saved(tmp_path, recognisers.spec("arn_2d")), tmp_path / "m.onnx").path
    out = tmp_path / "deep" / "stream"
    done = CliRunner().invoke(command, [str(file), "--out", str(out), "--sources", "2", "--json"])
    assert done.exit_code == 0, done.output
    names = {"model.onnx", "config_preprocess.txt", "config_infer.txt", "labels.txt", "README.md"}
    assert {path.name for path in out.iterdir()} == {*names, LIST}
    assert sorted(json.loads(done.stdout)["files"]) == sorted(str(out / name) for name in names)
    assert (out / "model.onnx").read_bytes() == file.read_bytes()
    for name in names - {"model.onnx"}:
        ours = (out / name).read_bytes()
        (out / name).write_bytes(b"mine")
        refused = CliRunner().invoke(command, [str(file), "--out", str(out), "--sources", "3"])
        assert refused.exit_code == 1 and f"{out / name}: is there already" in str(refused.exception)
        assert (out / name).read_bytes() == b"mine"
        (out / name).write_bytes(ours)
    done = CliRunner().invoke(command, [str(file), "--out", str(out), "--frame-size", "big"])
    assert done.exit_code == 2 and "WIDTHxHEIGHT" in done.output
    with pytest.raises(OutputError, match="cannot be written"):
        deepstream.write(contract.read(file), file, {"a": ""})
