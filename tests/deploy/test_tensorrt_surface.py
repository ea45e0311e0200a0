"""The names of TensorRT that our code uses, against the names that its real Python bindings have."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_kit import VERSIONS, machine, model_spec, windows, write_onnx
from fakes.tensorrt import FOLDER

from araflow.core.errors import AraflowError
from araflow.deploy.tensorrt.engine import EngineSettings, build
from araflow.deploy.tensorrt.runtime import engine_runner

SOURCES = Path(__file__).parents[2] / "araflow" / "deploy"
FACTS = {version: json.loads((FOLDER / f"{version}.json").read_text()) for version in VERSIONS}
LOOKED_UP = {  # asked for with hasattr, since not every version has them
    "8.6.1": {("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"), ("ParserError", "node_name")},
    "11.4.0": {("BuilderFlag", "FP16")},
}
BY_NAME = {"FP16", "INT8", "TF32", "STRONGLY_TYPED", "EXPLICIT_BATCH"}
"""Flags that ``choose_flags`` names in strings, after it has looked."""


def has(version, kind, name):
    """Whether the real bindings have a name; read from the facts without the fake's help."""
    facts = FACTS[version]
    if kind == "":
        return name in facts["names"]
    if kind in facts["enums"]:
        return name in facts["enums"][kind]
    return any(name in names for names in facts["classes"][kind].values())


def test_the_facts_are_of_five_versions_and_small():
    files = sorted(FOLDER.glob("*.json"))
    assert {file.stem for file in files} == set(VERSIONS)
    assert sum(file.stat().st_size for file in files) < 200_000
    for version, facts in FACTS.items():
        assert facts["version"].startswith(version)
        assert version in facts["wheel"]["name"] and len(facts["wheel"]["sha256"]) == 64


def test_the_facts_tell_what_is_known_of_the_versions():
    everywhere = [("IExecutionContext", "execute_async_v3"), ("Builder", "build_serialized_network")]
    everywhere += [("ICudaEngine", "num_io_tensors"), ("IBuilderConfig", "set_memory_pool_limit")]
    for version in VERSIONS:
        assert all(has(version, *name) for name in everywhere)
        assert has(version, "BuilderFlag", "FP16") == (version != "11.4.0")
        assert has(version, "NetworkDefinitionCreationFlag", "EXPLICIT_BATCH") == (version != "11.4.0")
        assert has(version, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED") == (version != "8.6.1")
        assert has(version, "ICudaEngine", "num_bindings") == (version == "8.6.1")
    numbers = [FACTS[version]["enums"]["NetworkDefinitionCreationFlag"].get("STRONGLY_TYPED") for version in VERSIONS]
    assert numbers == [None, 1, 1, 1, 0]  # which is why flags go by name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_our_code_touches_exists_in_that_version(tmp_path, monkeypatch, version):
    trt, memory = machine(monkeypatch, version)
    spec = model_spec()
    settings = {"batch": (1, 2, 4), "workspace_mib": 8, "optimization_level": 2, "timing_cache": tmp_path / "cache"}
    for name, options in {"a": {}, "b": {"precision": "fp16"}, "c": {"quantised": True}}.items():
        file = write_onnx(tmp_path / f"{name}.onnx", spec, **options)
        build(file, tmp_path / f"{name}.engine", EngineSettings(**settings), device=memory)
    runner = engine_runner(tmp_path / "a.engine", memory=memory)
    given = windows(spec, 3)
    assert np.isfinite(runner(**given)).all()
    runner.stopwatch(**given, cuda_graph=True)()
    touched, missed = set(trt.touched), set(trt.missed)
    trt._faults = ("parse",)
    with pytest.raises(AraflowError, match="cannot parse"):
        build(file, tmp_path / "d.engine", EngineSettings(**settings), device=memory)
    touched, missed = touched | trt.touched, missed | trt.missed
    assert len(touched) > 50
    assert {("", "Builder"), ("IExecutionContext", "execute_async_v3"), ("ParserError", "desc")} <= touched
    assert {name for name in touched if not has(version, *name)} == set()
    assert missed == LOOKED_UP.get(version, missed & {("ParserError", "node_name")})


def test_names_that_no_test_reaches_exist_too():
    """Read from the source: chains such as ``trt.BuilderFlag.FP16``."""
    found = set()
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            chain = []
            while isinstance(node, ast.Attribute):
                chain, node = [node.attr, *chain], node.value
            if chain[:1] == ["_trt"]:
                chain = chain[1:]
            elif not (isinstance(node, ast.Name) and node.id == "trt"):
                continue
            if chain:
                found.add(("", chain[0]) if len(chain) < 2 else (chain[0], chain[1]))
    found = {name for name in found if name != ("", "__version__") and name[1] != "__init__"}
    assert len(found) > 10
    for version in VERSIONS:
        unknown = {name for name in found if not has(version, *name)}
        assert unknown <= LOOKED_UP.get(version, set()), version


def test_flags_that_are_named_in_strings_are_flags_of_some_version():
    text = (SOURCES / "tensorrt" / "_build.py").read_text()
    named = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    flags = {
        name for facts in FACTS.values() for kind in facts["enums"] if "Flag" in kind for name in facts["enums"][kind]
    }
    assert {name for name in named if isinstance(name, str) and name.isupper() and name in flags} == BY_NAME


@pytest.mark.parametrize(
    ("version", "call"),
    [
        ("10.3.0", lambda trt, config: config.max_workspace_size),
        ("11.4.0", lambda trt, config: config.set_flag(trt.BuilderFlag.FP16)),
        ("11.4.0", lambda trt, config: trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH),
        ("8.6.1", lambda trt, config: trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
        ("10.3.0", lambda trt, config: trt.CaffeParser),
        ("10.3.0", lambda trt, config: setattr(config, "num_optimization_profiles", 2)),
        ("10.3.0", lambda trt, config: setattr(config, "max_workspace_size", 2)),
        ("10.3.0", lambda trt, config: config.create_timing_cache(b"").serialize().decode()),
    ],
)
def test_the_fake_refuses_what_the_real_one_lacks(monkeypatch, version, call):
    trt, _ = machine(monkeypatch, version)
    config = trt.Builder(logger(trt)).create_builder_config()
    with pytest.raises(AttributeError):
        call(trt, config)


@pytest.mark.parametrize(
    "call",
    [
        lambda trt, config: config.set_flag("FP16"),
        lambda trt, config: config.set_flag(trt.MemoryPoolType.WORKSPACE),
        lambda trt, config: config.set_flag(flag=trt.BuilderFlag.FP16, more=1),
        lambda trt, config: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1.5),
        lambda trt, config: config.set_timing_cache(config.create_timing_cache(b"")),
        lambda trt, config: config.create_timing_cache("text"),
        lambda trt, config: trt.OnnxParser(config, logger(trt)),
        lambda trt, config: trt.Runtime(),
        lambda trt, config: trt.Builder(type("Logger", (trt.ILogger,), {"__init__": lambda self: None})()),
    ],
)
def test_the_fake_refuses_arguments_that_the_real_one_refuses(monkeypatch, call):
    trt, _ = machine(monkeypatch)
    config = trt.Builder(logger(trt)).create_builder_config()
    with pytest.raises(TypeError):
        call(trt, config)


def logger(trt):
    return type("Logger", (trt.ILogger,), {"log": lambda self, severity, text: None})()


@pytest.mark.network
def test_the_facts_are_what_the_bindings_say_today(tmp_path):
    """Opt-in: downloads the wheels; needs a C compiler and a Python that they are made for."""
    sys.path.insert(0, str(Path(__file__).parent))
    import extract_tensorrt_surface

    for version in extract_tensorrt_surface.WHEELS:
        assert extract_tensorrt_surface.extract(version, tmp_path) == FACTS[version]
