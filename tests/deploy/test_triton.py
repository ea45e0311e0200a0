"""Triton's model repository against a hand-written configuration."""

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'araflow[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'araflow[export]'")

import recognisers  # noqa: E402

from araflow.cli.deepstream import triton as command  # noqa: E402
from araflow.core.errors import SpecError  # noqa: E402
from araflow.deploy import triton  # noqa: E402
from araflow.deploy.onnx.export import export  # noqa: E402

GOLDENS = Path(__file__).parent / "goldens"


def test_a_joint_model_is_configured_as_written_by_hand():
    texts = triton.files(recognisers.published("arn_2d", "joint"), "walking")
    assert texts["config.pbtxt"] == (GOLDENS / "triton_joint.pbtxt").read_text()
    assert texts["labels.txt"] == "push\nfall_floor\nwalk\nrun\nride_bike\n"


def test_flow_over_clips_and_another_batch():
    text = triton.files(recognisers.published("arn_3d", "flow"), "m", batch=8)["config.pbtxt"]
    assert '{ name: "input_of", data_type: TYPE_FP32, dims: [ 2, 32, 224, 224 ] }' in text
    assert "max_batch_size: 8" in text and "input_rgb" not in text


def test_a_file_for_a_fixed_number_of_windows_is_served_without_batches():
    text = triton.files(recognisers.published("arn_3d", batch=4), "m")["config.pbtxt"]
    assert "max_batch_size: 0" in text and "dynamic_batching" not in text
    assert "dims: [ 4, 3, 32, 224, 224 ]" in text and "dims: [ 4, 5 ]" in text


@pytest.mark.parametrize(
    ("model", "name", "batch", "message"),
    [
        ({}, "two/names", None, "name: 'two/names'; allowed: letters"),
        ({}, "", None, "name: ''"),
        ({"batch": 4}, "m", 8, r"batch: 8; m\.onnx was exported for 4 windows at once; leave it out"),
        ({}, "m", 0, "batch: 0; allowed: 1 or more"),
        ({"labels": ("a\nb", "c")}, "m", None, r"labels: 'a\\nb' has several lines"),
    ],
)
def test_what_cannot_be_served_is_refused(model, name, batch, message):
    with pytest.raises(SpecError, match=message):
        triton.files(recognisers.published("arn_3d", **model), name, batch=batch)


def test_the_command_writes_a_repository_whose_shapes_are_the_files(tmp_path):
    file = export(recognisers.saved(tmp_path, recognisers.spec("arn_2d")), tmp_path / "net.onnx").path
    done = CliRunner().invoke(command, [str(file), "--out", str(tmp_path / "models")])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "models" / "net"
    assert (folder / "1" / "model.onnx").read_bytes() == file.read_bytes()
    text = (folder / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    for value in (*session.get_inputs(), *session.get_outputs()):
        assert f'name: "{value.name}", data_type: TYPE_FP32, dims: [ {", ".join(map(str, value.shape[1:]))} ]' in text
    assert text.startswith('name: "net"\n')
    before = (folder / "config.pbtxt").read_bytes()
    for name, content in {
        "config.pbtxt": before + b"# tuned by hand",
        "labels.txt": b"mine",
        "1/model.onnx": b"mine",
    }.items():
        ours = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        refused = CliRunner().invoke(command, [str(file), "--out", str(tmp_path / "models"), "--batch", "2"])
        assert refused.exit_code == 1 and f"{folder / name}: is there already" in str(refused.exception)
        assert (folder / name).read_bytes() == content
        (folder / name).write_bytes(ours)
    assert (folder / "config.pbtxt").read_bytes() == before, "refused before any work"
