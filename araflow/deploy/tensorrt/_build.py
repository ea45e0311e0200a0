"""From an ONNX file's bytes to an engine's, by the names that the TensorRT at hand has.

What differs between TensorRT 8.5 and 11 is how precision is told (NVIDIA TensorRT documentation, "Strongly Typed
Networks", and the migration guides to 10 and 11):

===========  ====================================  ======================================================
TensorRT     network flags                         half precision
===========  ====================================  ======================================================
8.5, 8.6     EXPLICIT_BATCH                        BuilderFlag.FP16: the builder chooses, layer by layer
10.x         STRONGLY_TYPED                        as the file says; or, without that flag, BuilderFlag.FP16
11           none: everything is strongly typed    as the file says; the builder flag is gone
===========  ====================================  ======================================================

A flag's number is not the same in every version, and a missing one must not be passed over in silence: names are
looked up, and what cannot be said to a version is an error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from araflow.core.errors import EngineError, SourceError, SpecError, UnavailableError
from araflow.core.files import write_all
from araflow.deploy.tensorrt._gpu import Gpu
from araflow.deploy.tensorrt._log import Log, listed
from araflow.deploy.tensorrt.engine_file import Flags, Precision, Profile


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        onnx: The file's bytes.
        name: The file's name, for messages.
        carried: Floating-point type of the file's own weights: ``fp32`` or ``fp16``.
        precision: What is asked for.
        profile: By input; empty for a file with a fixed batch.
        workspace_mib: Most scratch memory in MiB; ``None``: as much as there is.
        level: Builder optimisation level, 0 to 5; ``None``: TensorRT's own (3).
        cache: File of the timing cache; ``None``: none.
    """

    onnx: bytes
    name: str
    carried: str
    precision: Precision
    profile: Mapping[str, Profile]
    workspace_mib: int | None = None
    level: int | None = None
    cache: Path | None = None


@dataclass
class Built:
    """An engine that TensorRT built, with nothing proven yet."""

    engine: bytes
    flags: Flags
    seconds: float
    cache_used: bool
    warnings: tuple[str, ...] = field(default_factory=tuple)


def choose_flags(trt: Any, carried: str, precision: Precision) -> Flags:  # noqa: ANN401
    """Return the flags that make this TensorRT build a precision from a file.

    Raises:
        SpecError: This version cannot, or the file's own precision is less than what is asked for.
    """
    if precision == "fp32" and carried == "fp16":
        raise SpecError(
            "precision: fp32 cannot be built from an fp16 file; give it the file of araflow export --precision fp32"
        )
    typed_is_flag = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    typed_is_choice = hasattr(trt.BuilderFlag, "FP16")  # where builder flags can still lower the precision
    in_file = precision in (carried, "int8")  # int8 is carried by the file's quantisation nodes
    if in_file and typed_is_flag:
        network = ("STRONGLY_TYPED",) if typed_is_choice else ()
        builder: tuple[str, ...] = ()
    elif not typed_is_choice:
        raise SpecError(
            f"precision: TensorRT {trt.__version__} takes it from the file, which is {carried}; give it the file of "
            f"araflow export --precision {precision}"
        )
    else:
        network = () if typed_is_flag else ("EXPLICIT_BATCH",)
        half = ("FP16",) if "fp16" in (precision, carried) else ()
        builder = (*half, *(("INT8",) if precision == "int8" else ()))
    strong = in_file and typed_is_flag
    return Flags(
        network=network,
        builder=builder,
        # TensorRT multiplies float32 with TF32's 11 bits unless it is told not to; asked for fp32, it shall be fp32.
        cleared=("TF32",) if precision == "fp32" else (),
        typing="strong" if strong else "weak",
        fallback=precision == "fp16" and not in_file,
    )


def build(trt: Any, request: Request) -> Built:  # noqa: ANN401
    """Parse and build.

    Raises:
        SpecError: This version of TensorRT has no such setting or precision.
        SourceError: TensorRT cannot parse the file; the message holds all that the parser said.
        UnavailableError: TensorRT finds no GPU.
        EngineError: It parsed, but no engine came of it.
    """
    flags = choose_flags(trt, request.carried, request.precision)
    log = Log(trt)
    try:
        builder = trt.Builder(log.logger)
    except (TypeError, RuntimeError) as error:  # pybind11's words for a factory that returned nothing
        raise UnavailableError(f"TensorRT {trt.__version__} finds no usable GPU: {error}:{log.said()}") from error
    network = builder.create_network(_bits(trt.NetworkDefinitionCreationFlag, flags.network))
    _parse(trt, network, request, log)
    config = builder.create_builder_config()
    _configure(trt, config, flags, request)
    if request.profile:
        _add_profile(builder, network, config, request)
    cache_used = request.cache is not None and _use_cache(config, request.cache)
    start = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - start
    if plan is None:
        raise EngineError(_why(trt, request, log))
    if request.cache is not None:
        _save_cache(config, request.cache)
    return Built(bytes(plan), flags, seconds, cache_used, tuple(dict.fromkeys(log.warnings)))


def cache_file(folder: Path, trt: Any, device: Gpu, precision: Precision) -> Path:  # noqa: ANN401
    """Return the timing cache's place: timings hold for one TensorRT, one kind of GPU, one precision."""
    name = "".join(letter if letter.isalnum() else "-" for letter in device.name)
    major, minor = device.capability
    return folder / f"tensorrt-{trt.__version__}_{name}_sm{major}{minor}_{precision}.timing"


def _bits(kind: Any, names: tuple[str, ...]) -> int:  # noqa: ANN401
    return sum(1 << int(getattr(kind, name)) for name in names)


def _parse(trt: Any, network: Any, request: Request, log: Log) -> None:  # noqa: ANN401
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(request.onnx):
        errors = [_told(parser.get_error(index)) for index in range(parser.num_errors)]
        raise SourceError(
            f"{request.name}: TensorRT {trt.__version__} cannot parse it:{listed([*errors, *log.errors])}\n"
            "an older opset may help: araflow export --opset 17"
        )
    found = {network.get_input(index).name for index in range(network.num_inputs)}
    if request.profile and found != set(request.profile):
        raise SourceError(
            f"{request.name}: its inputs are {', '.join(sorted(found))}; expected {', '.join(request.profile)}"
        )


def _told(error: Any) -> str:  # noqa: ANN401
    """Return what a parser error says; the node's name and operator since TensorRT 10."""
    where = f"node {error.node()}"
    if hasattr(error, "node_name"):
        where += f" {error.node_name()} ({error.node_operator()})"
    return f"{where}: {error.desc()}"


def _configure(trt: Any, config: Any, flags: Flags, request: Request) -> None:  # noqa: ANN401
    for name in flags.builder:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name in flags.cleared:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells no data types
    if request.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    if request.level is not None:
        if not hasattr(config, "builder_optimization_level"):
            raise SpecError(
                f"optimization_level: TensorRT {trt.__version__} has none (8.6 and later have); leave it out"
            )
        config.builder_optimization_level = request.level


def _add_profile(builder: Any, network: Any, config: Any, request: Request) -> None:  # noqa: ANN401
    profile = builder.create_optimization_profile()
    for name, shapes in request.profile.items():
        profile.set_shape(name, shapes.min, shapes.opt, shapes.max)
    if config.add_optimization_profile(profile) < 0:
        shown = {name: shapes.model_dump() for name, shapes in request.profile.items()}
        raise EngineError(f"{request.name}: TensorRT does not take the optimisation profile {shown}")


def _use_cache(config: Any, file: Path) -> bool:  # noqa: ANN401
    """Give the builder a timing cache, the file's or a new one; return whether it was the file's."""
    try:
        stored = file.read_bytes()
    except OSError:
        stored = b""
    for content in (stored, b"") if stored else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):  # False: refuse another GPU's timings
            return bool(content)
    return False


def _save_cache(config: Any, file: Path) -> None:  # noqa: ANN401
    write_all({file: bytes(config.get_timing_cache().serialize())})


def _why(trt: Any, request: Request, log: Log) -> str:  # noqa: ANN401
    hint = ""
    if log.names_memory:
        hint = (
            "\nit is short of memory: try a smaller largest batch (--batch), another --workspace, or end what else "
            "uses the GPU"
        )
    return f"{request.name}: TensorRT {trt.__version__} built no engine:{log.said()}{hint}"
