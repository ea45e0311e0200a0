"""What this machine has: each backend and tool, there or not, why, and how to get it."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from araflow.cli.options import JSON
from araflow.core import table, written
from araflow.core.installed import version_of
from araflow.core.processes import usable_cores
from araflow.core.screen import echo, echo_json
from araflow.core.table import Column, Table


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for.

    Attributes:
        kind: ``machine``, ``backend``, ``library`` or ``tool``.
        name: What it is called.
        present: It is there.
        detail: What was found, or why it is not there and how to get it.
    """

    kind: str
    name: str
    present: bool
    detail: str


def examine(*, deep: bool = False) -> list[Finding]:
    """Look for everything that araflow can use. Never raises for something absent.

    Args:
        deep: Also import what takes seconds to import, and try what it needs; else the details say what was not tried.
    """
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    found = [Finding("machine", "python", True, f"{python}, {usable_cores()} usable cores")]
    found += [
        *backends(deep=deep),
        _library("av", "decodes videos", "pip install av"),
        _library("isal", "writes PNG files fast", "pip install isal"),
        _library("prefect", "runs flows and keeps their history", "pip install araflow"),
        _prefect_server() if deep else _prefect_server_untried(),
        _library("torch", "trains recognisers; preparing data does not need it", "pip install 'araflow[train]'"),
        _library("onnxruntime", "runs exported recognisers, without PyTorch", "pip install 'araflow[onnx]'"),
        _library("yt_dlp", "asks YouTube for Kinetics clips in no archive", "pip install 'araflow[youtube]'"),
        _tool("ffmpeg", "cuts what comes from YouTube; nothing else needs it", "apt install ffmpeg"),
        _tool("nvidia-smi", "an NVIDIA GPU's driver", "no NVIDIA driver; flow runs on the CPU"),
        _tool("unar", "unpacks compressed RAR archives", "apt install unar"),
        _tool("bsdtar", "unpacks compressed RAR archives, RAR5 above all", "apt install libarchive-tools"),
    ]
    return found


def backends(*, deep: bool = False) -> list[Finding]:
    """Look for every optical-flow backend; ``deep``: also where that means to import what takes seconds to import."""
    from araflow import optical
    from araflow.core import resources

    names = resources.plugins("optical/backends")
    states = {name: optical.load(name).available() if deep else optical.glance(name) for name in names}
    return [Finding("backend", name, state.present, state.detail) for name, state in states.items()]


def _library(name: str, purpose: str, remedy: str) -> Finding:
    version = version_of(name)
    if version is None:
        return Finding("library", name, False, f"not installed ({purpose}): {remedy}")
    return Finding("library", name, True, f"{version}: {purpose}")


def _prefect_server() -> Finding:
    """Some FastAPI releases break Prefect's server in ways that pip's resolver cannot see; importing it tells."""
    command = [sys.executable, "-c", "import prefect.server.api.server"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if run.returncode:
        why = (run.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding(
            "library", "prefect server", False, f"does not import ({why}): pip install 'fastapi>=0.139,<0.151'"
        )
    return Finding("library", "prefect server", True, f"imports, with FastAPI {version_of('fastapi')}")


def _prefect_server_untried() -> Finding:
    prefect, fastapi = version_of("prefect"), version_of("fastapi")
    if prefect is None or fastapi is None:
        lacking = "Prefect" if prefect is None else "FastAPI"
        return Finding("library", "prefect server", False, f"{lacking} is not installed: pip install araflow")
    detail = f"FastAPI {fastapi} is installed; whether the server imports was not tried (araflow doctor --deep)"
    return Finding("library", "prefect server", True, detail)


def _tool(name: str, purpose: str, remedy: str) -> Finding:
    path = shutil.which(name)
    return Finding("tool", name, path is not None, f"{path}: {purpose}" if path else f"not found: {remedy}")


@click.command()
@click.option(
    "--vpi-capture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="On a Jetson: write what its VPI accepts to FILE, for araflow's tests to replay.",
)
@click.option("--deep", is_flag=True, help="Also import PyTorch, numba and Prefect's server, to see whether they work.")
@JSON
def doctor(as_json: bool, deep: bool, vpi_capture: Path | None) -> None:
    """Say what this machine has: each backend and tool, there or not, why, and how to get it."""
    if vpi_capture is not None:
        from araflow.optical.backends.vpi import capture

        text = json.dumps(capture.capture(), indent=2) + "\n"
        written.write({vpi_capture: text.encode()})
        echo(f"written: {vpi_capture}; please send it to araflow")
        return
    found = examine(deep=deep)
    if as_json:
        echo_json([dataclasses.asdict(finding) for finding in found])
    else:
        print_findings(found)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what was looked for and found."""
    there = Column("there", styles={"yes": "green", "no": "yellow"})
    columns = (*table.names("kind", "name"), there, *table.names("what was found, or how to get it"))
    rows = [(one.kind, one.name, "yes" if one.present else "no", one.detail) for one in findings]
    Table(columns, rows).print()
