"""Checkpoints as ONNX files: proven against PyTorch in ONNX Runtime, or not there."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'araflow[export]'")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'araflow[export]'")

import recognisers  # noqa: E402

from araflow.cli.export import export as command  # noqa: E402
from araflow.core.errors import ExportError, OutputError, SourceError, SpecError, TrainingError, UnavailableError  # noqa: E402
from araflow.deploy.onnx import _graph as graphs  # noqa: E402
from araflow.deploy.onnx import contract  # noqa: E402
from araflow.deploy.onnx import export as exporting  # noqa: E402
from araflow.deploy.onnx.export import export  # noqa: E402
from araflow.deploy.onnx.runtime import onnx_runner  # noqa: E402
from araflow.recognition import checkpoint, models  # noqa: E402
from araflow.recognition.models import _resnet  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return recognisers.saved(tmp_path, recognisers.spec("arn_2d"))


def _described_anew(model, metadata) -> None:
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


SHORT = [(name, "flow") for name in models.names()] + [("arn_2d", "joint")]
LONG = [*SHORT, *((name, "rgb") for name in models.names())]
"""The networks as wide as they are published."""


@pytest.mark.parametrize(("name", "modality"), [*SHORT, *(pytest.param(*one, marks=pytest.mark.proof) for one in LONG)])
def test_every_architecture_exports_and_gives_pytorchs_logits_in_both_precisions(
    name, modality, tmp_path, monkeypatch, request
):
    if request.node.get_closest_marker("proof"):
        monkeypatch.setattr(_resnet, "WIDTH", 64)
    file = recognisers.saved(tmp_path, recognisers.spec(name, modality))
    for precision in ("fp32", "fp16"):
        if precision == "fp16":  # from the same graph, which takes most of the time to make
            monkeypatch.setattr(graphs, "trace", lambda *args, **kwargs: None)
            monkeypatch.setattr(graphs, "simplify", lambda _: onnx.load(tmp_path / "fp32.onnx"))
            monkeypatch.setattr(exporting, "_describe", _described_anew)
        result = export(file, tmp_path / f"{precision}.onnx", precision=precision)
        assert result.parity.source == "drawn" and result.parity.windows == exporting.DRAWN
        assert result.parity.relative_error <= (1e-5 if precision == "fp32" else 5e-3)
        assert result.parity.top1 >= (1.0 if precision == "fp32" else 0.99)
        graph = onnx.load(result.path)
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 17)]
        kinds = {node.op_type for node in graph.graph.node}
        assert kinds <= {
            *("Conv", "Relu", "MaxPool", "Add", "ReduceMean", "Gemm", "Pad", "Concat", "Slice", "Div", "Cast")
        }
        assert {weights.data_type for weights in graph.graph.initializer if len(weights.dims) > 1} == {
            onnx.TensorProto.FLOAT if precision == "fp32" else onnx.TensorProto.FLOAT16
        }
        assert {value.type.tensor_type.elem_type for value in (*graph.graph.input, *graph.graph.output)} == {
            onnx.TensorProto.FLOAT
        }


def test_bottlenecks_export_with_the_other_opset(tmp_path):
    file = recognisers.saved(tmp_path, recognisers.spec("arn_3d", depth=50))
    result = export(file, tmp_path / "m.onnx", opset=18)
    assert result.parity.relative_error <= 1e-5
    assert contract.read(result.path).opset == 18


def test_the_same_checkpoint_gives_the_same_bytes_which_name_no_folder(small, tmp_path):
    one, two = (export(small, tmp_path / f"{name}.onnx") for name in ("one", "two"))
    data = one.path.read_bytes()
    assert data == two.path.read_bytes() and one.sha256 == two.sha256 and one.size == len(data)
    assert str(Path(torch.__file__).parents[1]).encode() not in data
    assert str(Path(exporting.__file__).parents[2]).encode() not in data


def test_any_number_of_windows_runs_and_a_fixed_number_is_repeated_up(small, tmp_path):
    network, spec = checkpoint.load(small)
    windows = np.random.default_rng(0).normal(size=(5, 3, 9, 16, 24)).astype(np.float32)
    with torch.no_grad():
        right = network(torch.from_numpy(windows)).numpy()
    for batch in ("dynamic", 2):
        result = export(small, tmp_path / f"{batch}.onnx", batch=batch)
        runner = onnx_runner(result.path, "cpu", threads=1)
        assert runner.model.batch == (None if batch == "dynamic" else 2)
        for count in (1, 5):
            np.testing.assert_allclose(runner(rgb=windows[:count]), right[:count], rtol=0, atol=1e-5 * abs(right).max())
    assert runner.spec == spec


def test_a_graph_with_a_wrong_weight_is_refused_and_nothing_is_left(small, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        model = simplify(*args, **kwargs)
        weights = next(one for one in model.graph.initializer if list(one.dims) == [8, 27, 7, 7])
        changed = onnx.numpy_helper.to_array(weights)[:, ::-1].copy()  # the frames in reverse
        weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
        return model

    simplify = graphs.simplify
    monkeypatch.setattr(graphs, "simplify", broken)
    before = sorted(tmp_path.iterdir())
    for precision in ("fp32", "fp16"):
        with pytest.raises(ExportError, match=r"12 windows \(drawn\): relative error .* nothing was written"):
            export(small, tmp_path / "m.onnx", precision=precision)
    assert sorted(tmp_path.iterdir()) == before


def test_windows_that_are_given_are_what_is_compared(small, tmp_path):
    seen = []

    def windows():
        for index in range(6):
            seen.append(index)
            yield {"rgb": torch.full((3, 9, 16, 24), index / 6), "label": 0}

    result = export(small, tmp_path / "m.onnx", windows=windows(), source="manifest")
    assert seen == list(range(6))
    assert (result.parity.windows, result.parity.source) == (6, "manifest")
    with pytest.raises(SpecError, match="windows: there is none"):
        export(small, tmp_path / "none.onnx", windows=[])
    assert not (tmp_path / "none.onnx").exists()


def test_a_failure_while_windows_are_read_leaves_the_old_file_and_is_not_blamed_on_writing(small, tmp_path):
    out = tmp_path / "m.onnx"
    out.write_bytes(b"old")

    def windows():
        yield {"rgb": torch.zeros(3, 9, 16, 24)}
        raise SourceError("clip gone")

    with pytest.raises(SourceError, match="clip gone"):
        export(small, out, windows=windows(), force=True)
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_a_file_that_is_there_is_replaced_only_by_force(small, tmp_path):
    out = tmp_path / "m.onnx"
    out.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"m\.onnx: there is such a file already; use --force"):
        export(small, out)
    assert out.read_bytes() == b"old"
    result = export(small, out, force=True)
    assert contract.read(out).sha256 == result.sha256
    with pytest.raises(OutputError, match="a folder; name a file"):
        export(small, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp61"}, r"precision: 'fp61'; allowed: fp32, fp16; did you mean fp16\?"),
        ({"opset": 13}, "opset: 13; allowed: 17, 18"),
        ({"batch": 0}, "batch: 0; allowed: dynamic, or a number"),
    ],
)
def test_settings_that_are_not_allowed_are_refused_before_the_checkpoint_is_read(settings, message, tmp_path):
    with pytest.raises(SpecError, match=message):
        export(tmp_path / "absent.safetensors", tmp_path / "m.onnx", **settings)


def test_weights_that_float16_cannot_hold_are_named(tmp_path):
    spec = recognisers.spec("arn_2d")
    network = recognisers.network_of(spec)
    with torch.no_grad():
        network.fc.weight[0, 0] = 1e5
    checkpoint.save(tmp_path / "c.safetensors", network, spec)
    with pytest.raises(SpecError, match=r"fp16 cannot hold the weights fc\.weight \(up to 100000, allowed: 65504\)"):
        export(tmp_path / "c.safetensors", tmp_path / "m.onnx", precision="fp16")


def test_values_that_overflow_in_float16_are_an_error_that_says_so(tmp_path):
    spec = recognisers.spec("arn_2d")
    network = recognisers.network_of(spec)
    with torch.no_grad():
        network.bn1.weight.mul_(1e4)
        network.bn1.bias.fill_(1e5 / 2)
    checkpoint.save(tmp_path / "c.safetensors", network, spec)
    with pytest.raises(ExportError, match=r"float16 cannot hold what bn1 gives .*; use --precision fp32"):
        export(tmp_path / "c.safetensors", tmp_path / "m.onnx", precision="fp16")
    assert not (tmp_path / "m.onnx").exists()


def test_a_checkpoint_that_diverged_is_said_to_have(tmp_path):
    spec = recognisers.spec("arn_2d")
    network = recognisers.network_of(spec)
    with torch.no_grad():
        network.fc.bias[0] = float("nan")
    checkpoint.save(tmp_path / "c.safetensors", network, spec)
    with pytest.raises(TrainingError, match="its training diverged"):
        export(tmp_path / "c.safetensors", tmp_path / "m.onnx")


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_without_a_package_the_error_says_how_to_get_it(absent, small, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else find(name))
    with pytest.raises(UnavailableError, match=rf"^{absent} is not installed: pip install 'araflow\[export\]'$"):
        export(small, tmp_path / "m.onnx")


def test_a_runner_refuses_other_streams_devices_and_features(small, tmp_path):
    runner = onnx_runner(export(small, tmp_path / "m.onnx").path)
    with pytest.raises(SpecError, match="this recogniser takes rgb; given: flow"):
        runner(flow=np.zeros((1, 2, 9, 16, 24), np.float32))
    with pytest.raises(SpecError, match="rgb must be float32"):
        runner(rgb=np.zeros((1, 3, 8, 16, 24), np.float32))
    with pytest.raises(UnavailableError, match="gives no features; use the checkpoint"):
        runner.features()
    with pytest.raises(SpecError, match=r"device: 'gpu'; allowed: auto, cpu, cuda"):
        onnx_runner(runner.model.path, "gpu")


def test_the_command_writes_the_file_and_says_how_near_it_is(small, tmp_path):
    out = tmp_path / "sub" / "m.onnx"
    done = CliRunner().invoke(command, [str(small), "--out", str(out), "--precision", "fp16", "--batch", "2", "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    model = contract.read(out)
    assert content["sha256"] == model.sha256 and content["parity"]["source"] == "drawn"
    assert (model.precision, model.batch) == ("fp16", 2)
    done = CliRunner().invoke(command, [str(small), "--out", str(out), "--force"])
    assert "on 12 windows (drawn): relative error" in done.stdout
    done = CliRunner().invoke(command, [str(small), "--out", str(out), "--batch", "many"])
    assert done.exit_code == 2 and "neither dynamic nor a number" in done.output
    shutil.rmtree(out.parent)
