"""What an ONNX file says of itself, and what is refused as not being one."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'araflow[export]'")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'araflow[export]'")

import recognisers  # noqa: E402

from araflow.core.errors import SourceError  # noqa: E402
from araflow.deploy.onnx import contract  # noqa: E402
from araflow.deploy.onnx.export import export  # noqa: E402

FLOW = {"backend": "opencv", "algorithm": "dis", "preset": "fast", "quantizer": "bound", "bound": 20.0}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    own = {"frames": 9, "height": 16, "width": 24, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    spec = recognisers.spec("arn_2d", "joint", rgb=own, flow={**own, "frames": 4, "mean": (0.5,), "std": (0.5,)})
    spec = spec.model_validate({**spec.to_json(), "flow": FLOW, "manifest_sha256": "ab" * 32, "sample_rate": 2})
    return export(recognisers.saved(folder, spec), folder / "m.onnx").path


def test_what_went_in_comes_out(exported):
    model = contract.read(exported)
    assert model.spec.labels == recognisers.LABELS
    assert model.spec.flow.model_dump(exclude_unset=True) | FLOW == model.spec.flow.model_dump(exclude_unset=True)
    assert model.spec.sample_rate == 2 and model.spec.manifest_sha256 == "ab" * 32
    assert model.inputs == {"rgb": (None, 27, 16, 24), "flow": (None, 8, 16, 24)}
    assert (model.precision, model.opset, model.batch) == ("fp32", 17, None)


def test_plain_keys_say_what_a_reader_without_araflow_needs(exported):
    found = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert found["labels"] == "push;fall_floor;walk;run;ride_bike"
    assert found["layout"] == "N(CT)HW"
    assert json.loads(found["normalisation"]) == {
        "rgb": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "flow": {"mean": [0.5, 0.5], "std": [0.5, 0.5]},
    }
    assert json.loads(found["frames"]) == {"rgb": 9, "flow": 4}
    assert found["quantizer"] == "bound" and found["manifest_sha256"] == "ab" * 32
    described = json.loads(found["araflow"])
    assert (described["precision"], described["opset"], described["batch"]) == ("fp32", 17, "dynamic")


def test_names_are_those_of_taos_consumers(exported):
    graph = onnx.load(exported).graph
    assert [value.name for value in graph.input] == ["input_rgb", "input_of"]
    assert [value.name for value in graph.output] == ["fc_pred"]


def test_frames_are_stacked_channel_by_channel_for_a_network_over_images_alone():
    windows = np.arange(2 * 3 * 9 * 2 * 2, dtype=np.float32).reshape(2, 3, 9, 2, 2)
    stacked = contract.arrange(windows, recognisers.spec("arn_2d"))
    assert stacked.shape == (2, 27, 2, 2)
    np.testing.assert_array_equal(stacked[1, 9 + 4], windows[1, 1, 4])  # the green of the fifth frame
    assert contract.arrange(windows, recognisers.spec("arn_3d")).shape == windows.shape
    assert contract.layout(recognisers.spec("arn_3d")) == "NCTHW"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such ONNX file"),
        (b"this is a text, and no network\n" * 9, "not a readable ONNX file"),
        (b"", "not an ONNX file, or an empty one"),
    ],
)
def test_what_is_no_onnx_file_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(SourceError, match=rf"m\.onnx: {message}"):
        contract.read(tmp_path / "m.onnx")
    with pytest.raises(SourceError, match="a folder, not an ONNX file"):
        contract.read(tmp_path)


def test_a_file_cut_short_is_refused(exported, tmp_path):
    (tmp_path / "m.onnx").write_bytes(exported.read_bytes()[:-1000])
    with pytest.raises(SourceError, match="not a readable ONNX file"):
        contract.read(tmp_path / "m.onnx")


def described(model, **changes):
    entry = model.metadata_props[0]
    content = json.loads(entry.value)
    entry.value = json.dumps(content | {"model": content["model"] | changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.ClearField("metadata_props"), "araflow did not write it; make one: araflow export"),
        (lambda model: setattr(model.metadata_props[0], "value", "{"), "description is of another version"),
        (lambda model: setattr(model.metadata_props[0], "value", '{"model": 1}'), "description is of another version"),
        (
            lambda model: setattr(model.metadata_props[0], "value", "[" * 200_000),
            "version of araflow: nested too deeply",
        ),
        (lambda model: setattr(model.metadata_props[0], "value", "9" * 5000), "description is of another version"),
        (lambda model: described(model, sample_rate=-3), "model.sample_rate: Input should be greater"),
        (lambda model: described(model, labels=["a"] * 200_000), "model.labels: Tuple should have at most 100000"),
        (lambda model: model.ClearField("opset_import"), "its operators are not those of its description"),
        (lambda model: setattr(model.graph.input[0], "name", "data"), "not those of its description"),
        (lambda model: setattr(model.graph.output[0], "name", "logits"), "not those of its description"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(change, message, exported, tmp_path):
    model = onnx.load(exported)
    model.graph.ClearField("initializer")
    assert model.metadata_props[0].key == "araflow"
    change(model)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(SourceError, match=message):
        contract.read(tmp_path / "m.onnx")
