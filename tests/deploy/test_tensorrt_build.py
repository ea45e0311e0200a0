"""Building engines, over a fake of each TensorRT that araflow names. No engine was ever built on a GPU."""

import hashlib
import json

import pytest
from engine_kit import FRAMES, LABELS, SIZE, VERSIONS, machine, model_spec, windows, write_onnx

from araflow.core.errors import EngineError, OutputError, SourceError, SpecError, UnavailableError
from araflow.core.files import is_draft
from araflow.core.written import LIST
from araflow.deploy.tensorrt import _build as building
from araflow.deploy.tensorrt import engine_file
from araflow.deploy.tensorrt.engine import EngineSettings, build

SHAPE = (3, FRAMES, SIZE, SIZE)


def run(tmp_path, monkeypatch, version="10.3.0", *faults, carried="fp32", device=None, file=None, **settings):
    """Build in a folder of its own and return the fake module and the result."""
    trt, memory = machine(monkeypatch, version, *faults)
    onnx = file or write_onnx(tmp_path / "m.onnx", precision=carried)
    given = windows(model_spec(), 5)
    out = tmp_path / "out" / "m.engine"
    return trt, build(onnx, out, EngineSettings(**settings), windows=given, device=device or memory)


def left(tmp_path):
    """What lies in the output folder."""
    folder = tmp_path / "out"
    return sorted(file.name for file in folder.iterdir() if file.name != LIST) if folder.is_dir() else []


EXPECTED = {  # version → (file, precision) → network flags, builder flags, typing
    "8.6.1": {
        ("fp32", "fp32"): (("EXPLICIT_BATCH",), (), "weak"),
        ("fp16", "fp16"): (("EXPLICIT_BATCH",), ("FP16",), "weak"),
        ("fp32", "fp16"): (("EXPLICIT_BATCH",), ("FP16",), "weak"),
    },
    "10": {
        ("fp32", "fp32"): (("STRONGLY_TYPED",), (), "strong"),
        ("fp16", "fp16"): (("STRONGLY_TYPED",), (), "strong"),
        ("fp32", "fp16"): ((), ("FP16",), "weak"),
    },
    "11.4.0": {
        ("fp32", "fp32"): ((), (), "strong"),
        ("fp16", "fp16"): ((), (), "strong"),
    },
}
CASES = [
    pytest.param(version, *case, id=f"{version}-{case[0]}-file-{case[1]}")
    for version in VERSIONS
    for case in EXPECTED.get(version, EXPECTED["10"])
]


@pytest.mark.parametrize(("version", "carried", "precision"), CASES)
def test_each_version_is_told_the_precision_in_its_own_way(tmp_path, monkeypatch, version, carried, precision):
    trt, result = run(tmp_path, monkeypatch, version, carried=carried, precision=precision)
    network, builder, typing = EXPECTED.get(version, EXPECTED["10"])[carried, precision]
    flags = result.record.flags
    assert (flags.network, flags.builder, flags.typing) == (network, builder, typing)
    assert flags.fallback == (carried != precision)
    assert trt._network._flags == set(network)
    assert trt._config._flags == {*builder, *(() if precision == "fp32" else ("TF32",))}
    proof = result.record.proof
    assert (proof.fp16 > 0, proof.fp32 > 0) == ((True, False) if precision == "fp16" else (False, True))


@pytest.mark.parametrize("version", VERSIONS)
def test_engine_and_description_appear_and_agree(tmp_path, monkeypatch, version):
    trt, result = run(tmp_path, monkeypatch, version, batch=(1, 2, 4), workspace_mib=64, optimization_level=4)
    assert left(tmp_path) == ["m.engine", "m.engine.json"]
    record = json.loads(result.sidecar.read_text())
    assert record["engine_sha256"] == hashlib.sha256(result.path.read_bytes()).hexdigest()
    assert record["onnx_sha256"] == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert record["tensorrt"] == trt.__version__
    assert (record["device"], record["capability"]) == ("Fake GPU 1000", [8, 6])
    assert record["model"]["labels"] == list(LABELS)
    assert record["profile"] == {"input_rgb": {"min": [1, *SHAPE], "opt": [2, *SHAPE], "max": [4, *SHAPE]}}
    assert trt._config._profile._shapes == {"input_rgb": [[1, *SHAPE], [2, *SHAPE], [4, *SHAPE]]}
    assert trt._config._limits == {"WORKSPACE": 64 << 20}
    assert trt._config.__dict__["builder_optimization_level"] == 4
    assert record["parity"]["batches"] == [1, 2, 4]
    assert record["parity"]["relative_error"] < 1e-5
    assert record["parity"]["top1"] == 1
    assert record["warnings"] == ["fake: this is not TensorRT"]
    assert engine_file.read(result.path)[1] == result.record


def test_settings_that_are_not_given_are_left_to_tensorrt(tmp_path, monkeypatch):
    trt, result = run(tmp_path, monkeypatch)
    assert trt._config._limits == {}
    assert "builder_optimization_level" not in trt._config.__dict__
    assert result.record.timing_cache is None
    assert result.record.precision == "fp32"  # as the file
    assert result.record.profile["input_rgb"].max[0] == 16


def test_a_fixed_batch_needs_no_profile_and_allows_no_other(tmp_path, monkeypatch):
    file = write_onnx(tmp_path / "m.onnx", batch=2)
    trt, result = run(tmp_path, monkeypatch, file=file)
    assert trt._config._profile is None
    assert result.record.profile["input_rgb"].max == (2, *SHAPE)
    assert result.record.parity.batches == (2,)
    with pytest.raises(SpecError, match=r"exported for 2 windows.*--batch dynamic"):
        run(tmp_path, monkeypatch, file=file, batch=(1, 2, 4))


@pytest.mark.parametrize("modality", ["flow", "joint"])
@pytest.mark.parametrize("architecture", ["arn_2d", "arn_3d"])
def test_every_modality_and_layout_builds(tmp_path, monkeypatch, architecture, modality):
    spec = model_spec(architecture, modality)
    file = write_onnx(tmp_path / "m.onnx", spec)
    _, memory = machine(monkeypatch)
    result = build(file, tmp_path / "m.engine", EngineSettings(batch=(1, 2, 2)), device=memory)
    assert list(result.record.profile) == {"flow": ["input_of"], "joint": ["input_rgb", "input_of"]}[modality]
    assert result.record.parity.source == "drawn"


def test_timing_cache_is_kept_apart_by_version_gpu_and_precision_and_used_again(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    _, first = run(tmp_path, monkeypatch, "10.3.0", timing_cache=folder)
    _, second = run(tmp_path, monkeypatch, "10.3.0", timing_cache=folder)
    assert (first.record.timing_cache_used, second.record.timing_cache_used) == (False, True)
    assert first.record.timing_cache == second.record.timing_cache == "tensorrt-10.3.0_Fake-GPU-1000_sm86_fp32.timing"
    run(tmp_path, monkeypatch, "10.0.1", timing_cache=folder)
    run(tmp_path, monkeypatch, "10.3.0", timing_cache=folder, precision="fp16")
    _, other = machine(monkeypatch, name="Other GPU", capability=(9, 0))
    run(tmp_path, monkeypatch, "10.3.0", timing_cache=folder, device=other)
    assert len(list(folder.iterdir())) == 4
    assert not any(is_draft(file.name) for file in folder.iterdir())


def test_a_timing_cache_that_does_not_fit_is_replaced_and_not_forced(tmp_path, monkeypatch):
    _, first = run(tmp_path, monkeypatch, timing_cache=tmp_path)
    file = tmp_path / first.record.timing_cache
    file.write_bytes(b"damaged")
    _, second = run(tmp_path, monkeypatch, timing_cache=tmp_path)
    assert not second.record.timing_cache_used
    assert file.read_bytes().startswith(b"timings of 10.3.0")
    _, third = run(tmp_path, monkeypatch, "10.3.0", "other_cache", timing_cache=tmp_path)
    assert not third.record.timing_cache_used


FAULTS = {
    "parse": (SourceError, r"cannot parse it:\n.*Unsupported operator FakeOne.*\n.*node 12: axes must be constant"),
    "memory": (EngineError, r"built no engine:\n  Error Code 2: OutOfMemory.*\nit is short of memory.*--batch"),
    "no_gpu": (UnavailableError, r"finds no usable GPU.*\n  CUDA initialization failure"),
    "ignores_fp16": (EngineError, r"fp16 was asked for, but no layer of the engine computes in it \(of \d+ computing"),
    "silent_inspector": (EngineError, r"precision is unproven"),
    "wrong": (
        EngineError,
        r"other logits than ONNX Runtime on 5 windows \(given windows\): relative error 2 \(allowed",
    ),
    "not_finite": (EngineError, r"no number"),
    "no_context": (EngineError, r"no execution context.*too little GPU memory.*\n  Error Code 2"),
    "no_load": (EngineError, r"does not load this engine:\n  Serialization assertion"),
    "refuses_to_run": (EngineError, r"refuses to run:\n  Not all tensors"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_failure_says_why_and_leaves_nothing(tmp_path, monkeypatch, version, fault):
    kind, message = FAULTS[fault]
    with pytest.raises(kind, match=f"(?s){message}"):
        run(tmp_path, monkeypatch, version, fault, carried="fp16", precision="fp16")
    assert left(tmp_path) == []


def test_a_failure_leaves_the_engine_that_was_there_with_its_own_description(tmp_path, monkeypatch):
    _, before = run(tmp_path, monkeypatch)
    kept = {name: (tmp_path / "out" / name).read_bytes() for name in left(tmp_path)}
    write_onnx(tmp_path / "m.onnx", seed=2)
    with pytest.raises(EngineError):
        run(tmp_path, monkeypatch, "10.3.0", "wrong", file=tmp_path / "m.onnx")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in left(tmp_path)} == kept
    assert engine_file.read(before.path)[1] == before.record


def test_a_write_that_fails_between_the_two_files_leaves_no_engine_that_loads(tmp_path, monkeypatch):
    _, before = run(tmp_path, monkeypatch)
    replace = engine_file.Path.replace

    def stop(self, target):
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(engine_file.Path, "replace", stop)
    with pytest.raises(OutputError, match="No space left"):
        run(tmp_path, monkeypatch, batch=(1, 2, 2))
    assert left(tmp_path) == ["m.engine"]
    with pytest.raises(SourceError, match="is not beside it"):
        engine_file.read(before.path)


def test_fp16_from_a_float32_file_is_refused_where_only_the_file_can_carry_it(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match=r"TensorRT 11\.4\S* takes it from the file, which is fp32.*--precision fp16"):
        run(tmp_path, monkeypatch, "11.4.0", precision="fp16")
    assert left(tmp_path) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_fp32_from_an_fp16_file_is_refused(tmp_path, monkeypatch, version):
    with pytest.raises(SpecError, match="fp32 cannot be built from an fp16 file"):
        run(tmp_path, monkeypatch, version, carried="fp16", precision="fp32")


@pytest.mark.parametrize("version", VERSIONS)
def test_int8_needs_quantisation_nodes_and_is_proven(tmp_path, monkeypatch, version):
    with pytest.raises(SpecError, match=r"int8 needs a file with QuantizeLinear.*modelopt"):
        run(tmp_path, monkeypatch, version, precision="int8")
    file = write_onnx(tmp_path / "q.onnx", quantised=True)
    _, result = run(tmp_path, monkeypatch, version, file=file)
    assert result.record.precision == "int8"
    assert result.record.proof.int8 > 0
    assert result.record.flags.builder == (("INT8",) if version == "8.6.1" else ())
    with pytest.raises(SpecError, match="quantised, so only int8"):
        run(tmp_path, monkeypatch, version, file=file, precision="fp32")


def test_a_version_without_optimisation_levels_says_so(tmp_path, monkeypatch):
    trt, memory = machine(monkeypatch, "8.6.1")  # 8.5 lacks them; its bindings are not among the facts
    del trt._surface.classes["IBuilderConfig"]["properties"]["builder_optimization_level"]
    with pytest.raises(SpecError, match=r"optimization_level: TensorRT 8\.6\.1 has none"):
        build(
            write_onnx(tmp_path / "m.onnx"),
            tmp_path / "m.engine",
            EngineSettings(optimization_level=3),
            device=memory,
        )


@pytest.mark.parametrize("batch", [(4, 2, 1), (0, 1, 2), (1, 4, 2)])
def test_batches_must_rise(batch):
    with pytest.raises(ValueError, match="batch"):
        EngineSettings(batch=batch)


def test_a_folder_as_output_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    trt, memory = machine(monkeypatch)
    with pytest.raises(OutputError, match="a folder; name a file"):
        build(write_onnx(tmp_path / "m.onnx"), tmp_path, EngineSettings(), device=memory)
    assert ("", "Builder") not in trt.touched


def test_what_the_device_measures_is_noted(tmp_path, monkeypatch):
    _, memory = machine(monkeypatch)
    file = write_onnx(tmp_path / "m.onnx")
    settings = EngineSettings(batch=(1, 2, 2))
    result = build(file, tmp_path / "m.engine", settings, device=memory, measure=lambda _, batch: {"batch": batch})
    assert result.record.latency == [{"batch": 1}, {"batch": 2}]


def test_a_file_that_araflow_export_wrote_builds(tmp_path, monkeypatch):
    from araflow.deploy.onnx.export import export
    from araflow.recognition import checkpoint
    from araflow.recognition.networks import create

    spec = model_spec("arn_3d", "flow")
    checkpoint.save(tmp_path / "m.safetensors", create(spec), spec)
    export(tmp_path / "m.safetensors", tmp_path / "m.onnx", precision="fp16")
    _, memory = machine(monkeypatch, "11.4.0")
    settings = EngineSettings(batch=(1, 2, 2))
    record = build(tmp_path / "m.onnx", tmp_path / "m.engine", settings, device=memory).record
    assert (record.precision, record.flags.network, record.flags.builder) == ("fp16", (), ())
    assert record.proof.fp16 > 10 and record.proof.fp32 == 0
    assert record.model == spec


def test_cache_file_names_hold_no_separators(monkeypatch, tmp_path):
    trt, memory = machine(monkeypatch, name="A/B c")
    assert building.cache_file(tmp_path, trt, memory, "fp16").name == "tensorrt-10.3.0_A-B-c_sm86_fp16.timing"
