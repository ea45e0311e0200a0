"""Write down what TensorRT's own Python bindings offer, as facts that tests hold code and fake against.

An opt-in job, not a test: it downloads NVIDIA's bindings wheels (about 1 MB each) from the package index and needs a C
compiler and Linux on x86-64 with a Python that all of the wheels are made for (3.11 or older: 8.6.1 has none for
later ones)::

    python tests/deploy/extract_tensorrt_surface.py

TensorRT's libraries are not needed, and no GPU: the bindings are imported over stub libraries that export the dozen
functions the bindings link to and do nothing. So what is written are names and signatures, as pybind11 shows them;
nothing of TensorRT is run.

Each ``tensorrt_surface/<version>.json`` holds:

    version, wheel    what the bindings say of themselves, and the wheel's file name with its SHA-256
    names             every public name of the module
    functions         name → signatures
    enums             name → member → number
    classes           name → {"methods": name → signatures, "properties": name → "read" or "read-write",
                      "nested": names of classes and enum members that are attributes}

A signature is the text between the parentheses without ``self``; of an overloaded method there are several.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEELS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.0.1": "tensorrt-cu12-bindings==10.0.1",
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.16.1": "tensorrt-cu12-bindings==10.16.1.11",
    "11.4.0": "tensorrt-cu12-bindings==11.4.0.106",
}
CLASSES = (
    "Builder",
    "INetworkDefinition",
    "ITensor",
    "IBuilderConfig",
    "IOptimizationProfile",
    "ITimingCache",
    "IHostMemory",
    "OnnxParser",
    "ParserError",
    "ILogger",
    "Logger",
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
    "EngineInspector",
    "Dims",
)
STUBS = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")
LINKED = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    # What 8.6 links to of the Caffe and UFF parsers.
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)


def stub_libraries(folder, major):
    """Compile libraries of a major version's names that export what the bindings link to."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "stub.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in LINKED))
    for name in STUBS:
        library = f"lib{name}.so.{major}"
        command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", folder / library]
        subprocess.run([*command, source], check=True)


def signatures(function):
    """Return the arguments of each overload of a pybind11 function, without ``self``."""
    found = re.findall(rf"^(?:\d+\. )?{re.escape(function.__name__)}\((.*)\)(?: -> .*)?$", function.__doc__ or "", re.M)
    texts = [re.sub(r"(?:tensorrt_bindings\.)?tensorrt\.", "", text) for text in found if text != "*args, **kwargs"]
    # pybind11 shows a default that is an object as <…>, with its address in some builds.
    return [re.sub(r"^self(: \w+)?(, )?", "", re.sub(r" at 0x[0-9a-f]+", "", text)) for text in texts]


def describe(kind):
    """Return the methods, properties and nested names of a class."""
    methods, properties, nested = {}, {}, []
    for name in sorted(dir(kind)):
        if name.startswith("_") and name != "__init__":
            continue
        value = getattr(kind, name)
        if isinstance(value, property):
            properties[name] = "read-write" if value.fset else "read"
        elif callable(value) and not isinstance(value, type):
            methods[name] = signatures(value)
        else:
            nested.append(name)
    return {"methods": methods, "properties": properties, "nested": nested}


def surface():
    """Return what the bindings that this process imports offer."""
    import tensorrt_bindings as trt

    public = {name: getattr(trt, name) for name in sorted(dir(trt)) if not name.startswith("_")}
    ours = {name: value for name, value in public.items() if "tensorrt" in str(getattr(value, "__module__", ""))}
    enums = {
        name: {member: int(number) for member, number in value.__members__.items()}
        for name, value in [*ours.items(), ("ILogger.Severity", trt.ILogger.Severity)]
        if hasattr(value, "__members__") and isinstance(value, type)
    }
    functions = {
        name: signatures(value)
        for name, value in public.items()
        if type(value).__name__ == "builtin_function_or_method"
    }
    return {
        "version": trt.__version__,
        "names": list(public),
        "functions": functions,
        "enums": enums,
        "classes": {name: describe(ours[name]) for name in CLASSES if name in ours},
    }


def extract(version, folder):
    """Download a version's bindings, import them in a process of their own, and return what they offer."""
    wheels = folder / version / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, WHEELS[version]]
    subprocess.run(command, check=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / version / "package")
    stub_libraries(folder / version / "stubs", version.split(".")[0])
    places = {"LD_LIBRARY_PATH": str(folder / version / "stubs"), "PYTHONPATH": str(folder / version / "package")}
    child = [sys.executable, __file__, "--describe"]
    run = subprocess.run(child, env={**os.environ, **places}, stdout=subprocess.PIPE, check=True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return {"wheel": {"name": wheel.name, "sha256": digest}, **json.loads(run.stdout)}


def main():
    parser = argparse.ArgumentParser(description="Write down what TensorRT's Python bindings offer.")
    parser.add_argument("versions", nargs="*", help=f"Some of {', '.join(WHEELS)}; all if none is given.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "tensorrt_surface")
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.describe:
        json.dump(surface(), sys.stdout)
        return
    for version in given.versions or WHEELS:
        with tempfile.TemporaryDirectory() as folder:
            found = extract(version, Path(folder))
        file = given.out / f"{version}.json"
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"{file}: {len(found['classes'])} classes, {len(found['enums'])} enums, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
