"""``araflow engine`` and ``araflow bench-engine``."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from engine_kit import machine, model_spec, windows, write_onnx

from araflow.cli import main
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.deploy import bench
from araflow.deploy.tensorrt import engine as tensorrt
from araflow.deploy.tensorrt import runtime
from araflow.recognition.flow_storage import FlowStorage
from araflow.store.manifest import Manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def araflow(monkeypatch):
    """The command line with a GPU of host memory."""

    def run(*words, version="10.3.0", faults=()):
        _, memory = machine(monkeypatch, version, *faults)
        monkeypatch.setattr(tensorrt, "TorchGpu", lambda: memory)
        monkeypatch.setattr(runtime, "TorchGpu", lambda: memory)
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


def test_engine_builds_and_says_what_it_proved(tmp_path, araflow, monkeypatch):
    monkeypatch.setattr(bench, "bench", functools.partial(bench.bench, seconds=0.01, warm_up_ms=1))
    file = write_onnx(tmp_path / "m.onnx", precision="fp16")
    done = araflow("engine", file, "--out", tmp_path / "m.engine", "--batch", "1,2,4", "--precision", "fp16", "--bench")
    assert done.exit_code == 0, done.output
    assert "TensorRT 10.3.0 on Fake GPU 1000" in done.output
    assert "precision fp16 (strongly typed); flags: STRONGLY_TYPED" in done.output
    assert "input_rgb: 1×3×4×16×16 … 2×3×4×16×16 … 4×3×4×16×16" in done.output
    assert "parity with ONNX Runtime on 4 windows (drawn)" in done.output
    assert "batch 4: median 3.00 ms" in done.output
    assert (tmp_path / "m.engine").is_file() and (tmp_path / "m.engine.json").is_file()


def test_engine_prints_its_description_as_json(tmp_path, araflow):
    file = write_onnx(tmp_path / "m.onnx")
    options = ("--batch", "2", "--workspace", "16", "--timing-cache", tmp_path / "cache", "--json")
    done = araflow("engine", file, "--out", tmp_path / "m.engine", *options)
    found = json.loads(done.output)
    assert found.pop("engine") == str(tmp_path / "m.engine")
    assert found == json.loads((tmp_path / "m.engine.json").read_text())
    assert (found["workspace_mib"], found["profile"]["input_rgb"]["max"][0]) == (16, 2)


def test_logits_are_compared_on_a_manifests_clips_where_one_is_given(tmp_path, araflow, monkeypatch):
    def clips(path, spec, most):
        for index in range(3):
            yield {name: tensor[0] for name, tensor in windows(spec, 1, seed=index).items()}

    monkeypatch.setattr("araflow.deploy.windows.of_manifest", clips)
    file = write_onnx(tmp_path / "m.onnx")
    done = araflow("engine", file, "--out", tmp_path / "m.engine", "--manifest", "data/sample")
    assert "parity with ONNX Runtime on 3 windows (of data/sample)" in done.output


def test_flow_of_another_making_is_refused_and_leaves_no_engine(tmp_path, araflow):
    made = {"backend": "opencv", "algorithm": "dis", "quantizer": "bound", "jpeg_quality": 95, "fingerprint": "f" * 64}
    clip = Clip("folder", "walk/a", "walk", name="a.avi")
    done = ClipRecord("walk/a", Outcome.DONE, "complete", frames=9, flows=8, bound=32.0, **made)
    manifest = Manifest.of([clip], [done], labels=["walk"], split_of={"walk/a": "test"}, metadata={}, folder=tmp_path)
    manifest.write(tmp_path / "manifest.parquet")
    trained = FlowStorage(backend="opencv", algorithm="dis", quantizer="bound", bound=20, jpeg_quality=95)
    spec = model_spec(modality="flow").model_copy(update={"flow": trained})
    file = write_onnx(tmp_path / "m.onnx", spec)
    found = araflow("engine", file, "--out", tmp_path / "m.engine", "--manifest", tmp_path)
    assert found.exit_code == 1
    assert "±20 pixels" in found.output and "±32 pixels" in found.output
    assert "--allow-other-flow" in found.output
    assert not (tmp_path / "m.engine").exists()


def test_a_fallback_to_a_builder_flag_is_said(tmp_path, araflow):
    done = araflow("engine", write_onnx(tmp_path / "m.onnx"), "--out", tmp_path / "m.engine", "--precision", "fp16")
    assert "precision fp16 (by builder flag alone, from a float32 file); flags: FP16" in done.output


@pytest.mark.parametrize("fault", ["parse", "memory", "no_gpu", "ignores_fp16", "wrong"])
def test_a_failure_is_one_message_and_no_file(tmp_path, araflow, fault):
    file = write_onnx(tmp_path / "m.onnx", precision="fp16")
    done = araflow("engine", file, "--out", tmp_path / "m.engine", faults=(fault,))
    assert done.exit_code == 1
    assert done.output.startswith("error: ")
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(("words", "message"), [("4,2,1", "must not fall"), ("1,2", "fewest, usual and most")])
def test_wrong_batches_are_refused(tmp_path, araflow, words, message):
    done = araflow("engine", write_onnx(tmp_path / "m.onnx"), "--out", tmp_path / "m.engine", "--batch", words)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.output.split())


@pytest.mark.parametrize("words", ["0", "a", "", "1,,2"])
def test_batch_sizes_are_whole_numbers_from_1(tmp_path, araflow, words):
    done = araflow("bench-engine", tmp_path / "m.onnx", "--batch", words)
    assert done.exit_code == 2
    assert "whole numbers" in " ".join(done.output.split())


def test_bench_engine_prints_a_table_and_the_cards_figures(tmp_path, araflow):
    file = write_onnx(tmp_path / "m.onnx", model_spec("arn_2d"))
    done = araflow("bench-engine", file, "--batch", "1,2", "--seconds", "0.01", "--device", "cpu")
    assert done.exit_code == 0, done.output
    for word in ("ONNX Runtime", "median", "p99", "windows/s", "T4 1818/s (batch 16)", "other hardware"):
        assert word in done.output


def test_bench_engine_as_json_and_with_a_cuda_graph(tmp_path, araflow):
    araflow("engine", write_onnx(tmp_path / "m.onnx"), "--out", tmp_path / "m.engine")
    words = ("--batch", "1,4", "--seconds", "0.01", "--cuda-graph", "--json")
    found = json.loads(araflow("bench-engine", tmp_path / "m.engine", *words).output)
    assert found["by"] == "TensorRT"
    assert [row["batch"] for row in found["results"]] == [1, 4]
    assert found["results"][0]["compute"] == pytest.approx(1)
    assert len(found["card"]["rows"]) == 8 and "other hardware" in found["card"]["caveat"]


def test_without_tensorrt_the_command_fails_with_the_one_line_that_helps(tmp_path):
    write_onnx(tmp_path / "m.onnx")
    code = (
        "import sys; sys.modules['tensorrt'] = None\n"
        "import click\nfrom araflow.cli.options import Group\nfrom araflow.cli.engine import engine\n"
        "Group(commands=[engine])()"
    )
    words = ["engine", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "m.engine")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: TensorRT ")
    assert "install" in line
    assert not (tmp_path / "m.engine").exists()


def test_help_imports_nothing_heavy():
    heavy = ("torch", "onnx", "onnxruntime", "cv2", "numpy")
    code = f"import sys, araflow.cli.engine\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
