"""Finding TensorRT, and where it is absent saying how this very machine gets it.

TensorRT is NVIDIA's, and does not come from the ordinary package index: only its Python bindings are there, which do
not import without its libraries. On x86-64 pip takes it from NVIDIA's own index; on a Jetson it is part of JetPack.

Sources: NVIDIA TensorRT documentation, "Installing TensorRT" (pip, Debian) and its release notes (11.3: no Jetson);
NVIDIA JetPack release notes (TensorRT and Python of each); CUDA Toolkit release notes, table of minimum drivers.
"""

from __future__ import annotations

import importlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from araflow.core.errors import UnavailableError

OLDEST, NEWEST = (8, 5), 11
"""Versions that the one code path is for. 8.5 is the first with the calls by tensor name."""
_TEGRA = Path("/etc/nv_tegra_release")
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Machine:
    """What decides how to get TensorRT.

    Attributes:
        architecture: As ``platform.machine`` names it: ``x86_64``, ``aarch64``.
        linux_for_tegra: Release of Jetson Linux, such as (36, 4); ``None`` where this is no Jetson.
        driver: Version of NVIDIA's driver, such as ``570.86.15``; ``None`` where none is loaded.
        python: Version of this Python, such as (3, 11).
    """

    architecture: str
    linux_for_tegra: tuple[int, int] | None
    driver: str | None
    python: tuple[int, int]


@dataclass(frozen=True)
class _JetPack:
    name: str
    tensorrt: str
    python: tuple[int, int]


_JETPACKS: dict[tuple[int, int], _JetPack] = {
    (32, 0): _JetPack("JetPack 4", "8.2 or older", (3, 6)),
    (34, 0): _JetPack("JetPack 5", "8.5", (3, 8)),
    (36, 0): _JetPack("JetPack 6.0", "8.6", (3, 10)),
    (36, 4): _JetPack("JetPack 6", "10.3", (3, 10)),
    (38, 0): _JetPack("JetPack 7", "10.13", (3, 12)),
}
"""By the first release of Jetson Linux that each begins with."""


def here(tegra: Path = _TEGRA, driver: Path = _DRIVER) -> Machine:
    """Return what this machine is, from the files that Jetson Linux and NVIDIA's driver keep."""
    release = re.search(r"R(\d+)\b.*?REVISION:\s*(\d+)", _text(tegra))
    version = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", _text(driver))
    return Machine(
        platform.machine(),
        (int(release[1]), int(release[2])) if release else None,
        version.group() if version else None,
        sys.version_info[:2],
    )


def advice(machine: Machine) -> str:
    """Return one line: how a machine gets a TensorRT that fits it."""
    if machine.linux_for_tegra is not None:
        return _on_jetson(machine, machine.linux_for_tegra)
    if machine.architecture not in ("x86_64", "AMD64"):
        return (
            f"no pip package of TensorRT is known for {machine.architecture}; see "
            "https://docs.nvidia.com/deeplearning/tensorrt"
        )
    major = int(machine.driver.split(".")[0]) if machine.driver else None
    if major is not None and major < 525:
        return f"driver {machine.driver} is too old for TensorRT 10 and 11: update it to 525 or newer, then install"
    package, which = "tensorrt", ""
    if major is not None:
        cuda = 13 if major >= 580 else 12
        package, which = f"tensorrt-cu{cuda}", f", for CUDA {cuda}, which driver {machine.driver} runs"
    return f"pip install --extra-index-url https://pypi.nvidia.com {package}  (version 11 or 10{which})"


def _on_jetson(machine: Machine, release: tuple[int, int]) -> str:
    known = [jetpack for since, jetpack in sorted(_JETPACKS.items()) if release >= since]
    if not known:
        return f"Jetson Linux R{release[0]} has no TensorRT that araflow can use; JetPack 5 or later has"
    jetpack = known[-1]
    if jetpack.name == "JetPack 4":
        return f"JetPack 4 has TensorRT {jetpack.tensorrt}, which lacks calls by tensor name; use JetPack 5 or later"
    version = ".".join(map(str, jetpack.python))
    line = f"sudo apt install python3-libnvinfer  ({jetpack.name}: TensorRT {jetpack.tensorrt}, for Python {version}"
    if machine.python == jetpack.python:
        return line + "; a virtual environment needs --system-site-packages)"
    ours = ".".join(map(str, machine.python))
    return f"{line}; this is Python {ours}, where /usr/src/tensorrt/bin/trtexec --onnx=… --saveEngine=… still builds)"


def import_tensorrt() -> Any:  # noqa: ANN401 - the module has no types
    """Return the module ``tensorrt``.

    Raises:
        UnavailableError: It is absent, its libraries are, or it is older or newer than what this code is for. The
            message is the one line that fits this machine.
    """
    try:
        trt = importlib.import_module("tensorrt")
        version = str(trt.__version__)
    except ModuleNotFoundError as error:
        what = "TensorRT is not installed" if error.name == "tensorrt" else f"TensorRT does not import ({error})"
        raise UnavailableError(f"{what}: {advice(here())}") from error
    except (ImportError, OSError, AttributeError) as error:  # bindings without libraries, or another module's name
        raise UnavailableError(f"TensorRT does not import ({error}): {advice(here())}") from error
    found = version_of(version)
    if found < OLDEST or found[0] > NEWEST:
        raise UnavailableError(f"TensorRT {version} is not one of 8.5 to 11: {advice(here())}")
    return trt


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor of a version such as ``10.16.1.11``."""
    numbers = re.findall(r"\d+", text)
    return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else (0, 0)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
