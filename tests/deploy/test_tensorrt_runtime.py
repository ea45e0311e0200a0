"""Running engines, and what the machine must have for it; over a fake of TensorRT. No engine ever ran on a GPU."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_kit import FRAMES, LABELS, SIZE, VERSIONS, machine, model_spec, windows, write_onnx

from araflow.core.errors import EngineError, SourceError, SpecError, UnavailableError
from araflow.deploy.onnx import contract
from araflow.deploy.tensorrt import _gpu, engine_file
from araflow.deploy.tensorrt import _install as install
from araflow.deploy.tensorrt._install import Machine, advice, import_tensorrt
from araflow.deploy.tensorrt.engine import EngineSettings, build
from araflow.deploy.tensorrt.runtime import engine_runner

X86 = Machine("x86_64", None, "570.86.15", (3, 11))


def made(tmp_path, monkeypatch, version="10.3.0", spec=None, batch=(1, 2, 4), fixed=None, **traits):
    """A built engine; returns the fake, the memory, the engine and a function that gives ONNX Runtime's logits."""
    import onnxruntime

    spec = spec or model_spec()
    trt, memory = machine(monkeypatch, version, **traits)
    file = write_onnx(tmp_path / "m.onnx", spec, batch=fixed)
    build(file, tmp_path / "m.engine", EngineSettings(batch=None if fixed else batch), device=memory)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def truth(**streams):
        return session.run(None, {contract.INPUTS[name]: contract.arrange(t, spec) for name, t in streams.items()})[0]

    return trt, memory, tmp_path / "m.engine", truth


@pytest.mark.parametrize("modality", ["rgb", "flow", "joint"])
@pytest.mark.parametrize("architecture", ["arn_2d", "arn_3d"])
def test_an_engine_answers_as_the_onnx_file_does(tmp_path, monkeypatch, architecture, modality):
    spec = model_spec(architecture, modality)
    _, memory, engine, truth = made(tmp_path, monkeypatch, spec=spec)
    runner = engine_runner(engine, memory=memory)
    assert runner.spec == spec
    given = windows(spec, 3)
    np.testing.assert_allclose(runner(**given), truth(**given), rtol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 9])
def test_any_number_of_windows_goes_through(tmp_path, monkeypatch, version, count):
    _, memory, engine, truth = made(tmp_path, monkeypatch, version, batch=(2, 3, 4))
    runner = engine_runner(engine, memory=memory)
    given = windows(model_spec(), count)
    found = runner(**given)
    assert found.shape == (count, len(LABELS)) and found.dtype == np.float32
    np.testing.assert_allclose(found, truth(**given), rtol=1e-5)


def test_an_engine_of_one_batch_size_takes_any_number_of_windows(tmp_path, monkeypatch):
    _, memory, engine, truth = made(tmp_path, monkeypatch, fixed=2)
    runner = engine_runner(engine, memory=memory)
    given = windows(model_spec(), 3)
    full = np.concatenate([truth(rgb=given["rgb"][:2]), truth(rgb=given["rgb"][[2, 2]])[:1]])
    np.testing.assert_allclose(runner(**given), full, rtol=1e-5)


def test_memory_is_kept_while_the_batch_stays_the_same(tmp_path, monkeypatch):
    _, memory, engine, _ = made(tmp_path, monkeypatch)
    runner = engine_runner(engine, memory=memory)
    memory.allocated.clear()
    for count in (2, 2, 3):
        runner(**windows(model_spec(), count))
    assert memory.allocated == [(n, *rest) for n in (2, 3) for rest in ((3, FRAMES, SIZE, SIZE), (len(LABELS),))]


def test_results_do_not_share_memory_with_the_next_run(tmp_path, monkeypatch):
    _, memory, engine, _ = made(tmp_path, monkeypatch)
    runner = engine_runner(engine, memory=memory)
    first = runner(**windows(model_spec(), 2, seed=1))
    kept = first.copy()
    runner(**windows(model_spec(), 2, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_wrong_streams_are_refused(tmp_path, monkeypatch):
    _, memory, engine, _ = made(tmp_path, monkeypatch)
    runner = engine_runner(engine, memory=memory)
    with pytest.raises(SpecError, match="takes rgb; given: flow"):
        runner(**windows(model_spec(modality="flow"), 1))
    with pytest.raises(SpecError, match="must be float32"):
        runner(rgb=windows(model_spec(), 1)["rgb"].astype(np.float64))
    with pytest.raises(UnavailableError, match="logits, not features"):
        runner.features(**windows(model_spec(), 1))


def test_stopwatch_tells_the_parts_and_records_a_graph_after_a_first_run(tmp_path, monkeypatch):
    _, memory, engine, truth = made(tmp_path, monkeypatch, tick=0.25)
    runner = engine_runner(engine, memory=memory)
    given = windows(model_spec(), 2)
    plain = runner.stopwatch(**given)()
    assert plain == {"latency": 0.75, "h2d": 0.25, "compute": 0.25, "d2h": 0.25}
    assert memory.captures == 0
    run = runner.stopwatch(**given, cuda_graph=True)
    assert memory.captures == 1
    buffer = runner._buffers["fc_pred"]
    buffer.host[:] = buffer.device[:] = 0
    run()
    np.testing.assert_allclose(memory.staged(buffer), truth(**given), rtol=1e-5)
    with pytest.raises(SpecError, match="1 to 4 windows at once, not 5"):
        runner.stopwatch(**windows(model_spec(), 5))


def test_an_exchanged_or_damaged_engine_is_never_handed_to_tensorrt(tmp_path, monkeypatch):
    trt, memory, engine, _ = made(tmp_path, monkeypatch)
    engine.write_bytes(engine.read_bytes()[:-1])
    trt.touched.clear()
    with pytest.raises(SourceError, match=r"exchanged or damaged.*araflow engine"):
        engine_runner(engine, memory=memory)
    engine_file.sidecar(engine).unlink()
    with pytest.raises(SourceError, match=r"m\.engine\.json is not beside it; an engine is a program"):
        engine_runner(engine, memory=memory)
    with pytest.raises(SourceError, match="no such engine"):
        engine_runner(tmp_path / "n.engine", memory=memory)
    assert not trt.touched


@pytest.mark.parametrize("text", ["", "{}", "no JSON", '{"format": 2}'])
def test_a_description_of_another_kind_is_refused(tmp_path, monkeypatch, text):
    _, memory, engine, _ = made(tmp_path, monkeypatch)
    engine_file.sidecar(engine).write_text(text)
    with pytest.raises(SourceError, match="not a description of this version"):
        engine_runner(engine, memory=memory)


def test_an_engine_of_another_tensorrt_or_gpu_is_to_be_built_again(tmp_path, monkeypatch):
    _, _, engine, _ = made(tmp_path, monkeypatch)
    _, memory = machine(monkeypatch, "10.0.1")
    with pytest.raises(SourceError, match=r"built by TensorRT 10\.3\.0; here is 10\.0\.1.*from m\.onnx"):
        engine_runner(engine, memory=memory)
    _, memory = machine(monkeypatch, "10.3.0", name="Newer GPU", capability=(9, 0))
    with pytest.raises(SourceError, match=r"\(compute capability 8\.6\); here is Newer GPU \(9\.0\)"):
        engine_runner(engine, memory=memory)


def test_too_little_memory_for_a_batch_says_so_and_a_smaller_one_still_runs(tmp_path, monkeypatch):
    _, memory, engine, truth = made(tmp_path, monkeypatch)
    runner = engine_runner(engine, memory=memory)
    given = windows(model_spec(), 2)
    runner(**given)
    memory.limit = 4 * 2 * 3 * FRAMES * SIZE * SIZE
    with pytest.raises(EngineError, match="too little GPU memory"):
        runner(**windows(model_spec(), 3))
    np.testing.assert_allclose(runner(**given), truth(**given), rtol=1e-5)


def test_tensors_of_other_names_or_types_are_not_araflows(tmp_path, monkeypatch):
    _, memory, engine, _ = made(tmp_path, monkeypatch)
    record = json.loads(engine_file.sidecar(engine).read_text())
    record["model"]["network"]["modality"] = "joint"
    engine_file.sidecar(engine).write_text(json.dumps(record))
    with pytest.raises(EngineError, match=r"tensors are input_rgb, fc_pred; expected: input_rgb, input_of, fc_pred"):
        engine_runner(engine, memory=memory)


def test_no_gpu_is_said_by_what_finds_none(tmp_path, monkeypatch):
    trt, memory, engine, _ = made(tmp_path, monkeypatch)
    trt._faults = ("no_gpu",)
    with pytest.raises(UnavailableError, match="finds no usable GPU"):
        engine_runner(engine, memory=memory)
    with pytest.raises(SpecError, match="engines run on CUDA devices only"):
        engine_runner(engine, "cpu", memory=memory)


def test_pytorch_without_a_gpu_is_said(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"no NVIDIA GPU that PyTorch can use.*on a CPU"):
        _gpu.TorchGpu()


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        (
            X86,
            r"pip install --extra-index-url https://pypi\.nvidia\.com tensorrt-cu12  \(version 11 or 10, for CUDA 12",
        ),
        (Machine("x86_64", None, "580.65.06", (3, 12)), r"tensorrt-cu13  \(version 11 or 10, for CUDA 13"),
        (Machine("x86_64", None, None, (3, 11)), r"pypi\.nvidia\.com tensorrt  \(version 11 or 10\)$"),
        (Machine("x86_64", None, "470.1", (3, 11)), "470.1 is too old"),
        (Machine("aarch64", (35, 4), None, (3, 8)), r"apt install python3-libnvinfer  \(JetPack 5: TensorRT 8\.5"),
        (Machine("aarch64", (36, 2), None, (3, 10)), r"JetPack 6\.0: TensorRT 8\.6.*--system-site-packages"),
        (Machine("aarch64", (36, 4), None, (3, 11)), r"JetPack 6: TensorRT 10\.3, for Python 3\.10; .*trtexec"),
        (Machine("aarch64", (38, 2), None, (3, 12)), r"JetPack 7: TensorRT 10\.13, for Python 3\.12"),
        (Machine("aarch64", (32, 7), None, (3, 6)), "JetPack 4 has TensorRT 8.2 or older"),
        (Machine("aarch64", (28, 1), None, (3, 6)), "R28 has no TensorRT"),
        (Machine("ppc64le", None, None, (3, 11)), "no pip package of TensorRT is known for ppc64le"),
    ],
)
def test_each_machine_is_told_how_it_gets_tensorrt_in_one_line(machine, line):
    import re

    assert re.search(line, advice(machine))
    assert "\n" not in advice(machine)


def test_the_machine_is_read_from_the_files_that_jetson_linux_and_the_driver_keep(tmp_path):
    tegra, driver = tmp_path / "nv_tegra_release", tmp_path / "version"
    assert install.here(tegra, driver).linux_for_tegra is None
    tegra.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8")
    driver.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri Jan 24 03:17:15 UTC 2025\nGCC version"
    )
    found = install.here(tegra, driver)
    assert (found.linux_for_tegra, found.driver, found.python) == ((36, 4), "570.86.15", sys.version_info[:2])


def test_absent_tensorrt_is_said_with_the_line_that_helps(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(install, "here", lambda: X86)
    with pytest.raises(UnavailableError, match=r"(is not installed|does not import).*pip install --extra-index-url"):
        import_tensorrt()


def test_the_fake_is_never_imported_as_the_real_one(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "fakes"), *sys.path])
    monkeypatch.setattr(install, "here", lambda: X86)
    with pytest.raises(UnavailableError, match="TensorRT is not installed: pip install"):
        import_tensorrt()


@pytest.mark.parametrize(
    "source",
    ["raise ImportError('libnvinfer.so.10: cannot open shared object file')", "", "import nothing_of_this_name"],
)
def test_bindings_that_do_not_import_are_said(tmp_path, monkeypatch, source):
    (tmp_path / "tensorrt.py").write_text(source)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match="TensorRT does not import"):
        import_tensorrt()
    sys.modules.pop("tensorrt", None)


@pytest.mark.parametrize("version", ["8.4.1.5", "7.2.3", "12.0.0", "unknown"])
def test_versions_that_the_code_is_not_for_are_refused(monkeypatch, version):
    trt, _ = machine(monkeypatch)
    trt.__version__ = version
    with pytest.raises(UnavailableError, match=r"is not one of 8\.5 to 11"):
        import_tensorrt()
