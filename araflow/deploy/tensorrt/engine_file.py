"""Engines on disk: the file that TensorRT wrote, and beside it ``<engine>.json``, which says what was built and proven.

An engine holds machine code that TensorRT runs: loading one from a stranger is running a stranger's program. So an
engine is loaded only with the description that araflow wrote beside it, and only if its SHA-256 is the one named there.
That tells an engine that was exchanged, cut short or mixed up; it does not tell who wrote the two files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from araflow.core import written
from araflow.core.errors import SourceError
from araflow.core.files import explained, sync
from araflow.core.reading import SMALL, problem_of, read_file
from araflow.core.spec import Settings
from araflow.core.written import draft
from araflow.recognition.spec import ModelSpec

SUFFIX = ".engine"
Precision = Literal["fp32", "fp16", "int8"]


class Profile(Settings):
    """Shapes of one input that an engine takes: least, the one that it is fastest for, most."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Flags(Settings):
    """Which of TensorRT's switches were set."""

    network: tuple[str, ...] = Field(description="Flags of the network's creation.")
    builder: tuple[str, ...] = Field(description="Builder flags that were set.")
    cleared: tuple[str, ...] = Field(description="Builder flags that TensorRT sets and araflow cleared.")
    typing: Literal["strong", "weak"] = Field(description="strong: precision as the file says; weak: by builder flag.")
    fallback: bool = Field(description="Whether half precision came by a builder flag alone, from a float32 file.")


class PrecisionProof(Settings):
    """What the engine inspector says that layers compute in; see ``_proof``."""

    layers: int = Field(description="All layers.")
    computing: int = Field(description="Layers that do more than copy or convert.")
    fp32: int
    fp16: int
    int8: int


class Parity(Settings):
    """How far an engine's logits are from ONNX Runtime's, over the same windows."""

    windows: int
    source: str = Field(description="What the windows were.")
    batches: tuple[int, ...] = Field(description="Batch sizes at which all windows went through the engine.")
    relative_error: float = Field(description="Largest, over the batch sizes, of |engine - reference| / |reference|.")
    allowed: float
    top1: float = Field(description="Share of the windows with the same first class, the lowest of the batch sizes.")
    undecided: int = Field(description="Windows whose first two logits are too near each other to count for top1.")


class EngineRecord(Settings):
    """What ``<engine>.json`` holds."""

    format: Literal[1] = 1
    engine_sha256: str
    onnx: str = Field(description="Name of the ONNX file.")
    onnx_sha256: str
    araflow: str
    tensorrt: str
    device: str
    capability: tuple[int, int]
    driver: str | None
    precision: Precision
    flags: Flags
    profile: dict[str, Profile] = Field(description="By input.")
    workspace_mib: int | None
    optimization_level: int | None
    timing_cache: str | None = Field(description="File name of the timing cache; null: none was asked for.")
    timing_cache_used: bool = Field(description="Whether timings of earlier builds were used.")
    build_seconds: float
    proof: PrecisionProof
    parity: Parity
    warnings: tuple[str, ...] = Field(description="What TensorRT warned of.")
    latency: list[dict[str, int | float]] | None = Field(None, description="As araflow bench-engine measures it.")
    model: ModelSpec


def sidecar(engine: Path) -> Path:
    """Return where an engine's description lies."""
    return engine.with_name(engine.name + ".json")


def check(path: Path) -> None:
    """Make sure, before the work, that an engine may be written: there is none, or it is araflow's.

    Raises:
        OutputError: Something else is there.
    """
    try:
        read(path)  # its description says the same as the list of what araflow wrote, which older versions had not
        ours = not (path.is_symlink() or sidecar(path).is_symlink())
    except (SourceError, OSError):
        ours = False
    written.check([path, sidecar(path)], adopt=ours)


def write(path: Path, engine: bytes, record: EngineRecord) -> None:
    """Write an engine and its description, so that no moment shows one with the other's predecessor.

    Raises:
        OutputError: They cannot be written.
    """
    described = sidecar(path)
    with explained(path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft(described) as described_part, draft(path) as part:  # the engine takes its place first
            part.write_bytes(engine)
            described_part.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            sync(part)  # whatever needs space comes first: on a full disk the earlier engine stays
            sync(described_part)
            described.unlink(missing_ok=True)  # killed from here on, there is an engine without description: not loaded


def read_record(path: Path) -> EngineRecord:
    """Return an engine's description.

    Raises:
        SourceError: There is no such engine, or no description that araflow wrote.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such engine")
    described = sidecar(path)
    try:
        return EngineRecord.model_validate_json(read_file(described, SMALL))
    except FileNotFoundError:
        raise SourceError(
            f"{path}: {described.name} is not beside it; an engine is a program, and araflow runs only those that it "
            "built: build it from its ONNX file with araflow engine"
        ) from None
    except OSError as error:
        raise SourceError(f"{described}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise SourceError(f"{described}: not a description of this version of araflow: {problem_of(error)}") from error


def read(path: Path) -> tuple[bytes, EngineRecord]:
    """Return an engine's bytes, which are those that araflow wrote, and its description.

    Raises:
        SourceError: See ``read_record``; or the engine is another than the one that was described.
    """
    record = read_record(path)
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != record.engine_sha256:
        raise SourceError(
            f"{path}: its SHA-256 {found[:12]}… is not {record.engine_sha256[:12]}… of {sidecar(path).name}: it was "
            "exchanged or damaged since it was built, so it is not run; build it again with araflow engine"
        )
    return data, record
