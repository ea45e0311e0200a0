"""README from top to bottom, in one folder and one home: no command spoils what a later one needs.

HMDB51 is drawn, and served by a server here. What is added to the commands is in ``ADDED``: training and
``flow-quality`` are cut short.
``make install`` and a new environment are ``flows/test_readme.py``'s; ``make`` in "Running the tests" is CI's.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mirrors
import pytest
from serving import until_it_serves

from araflow.datasets._sample import draw_sample

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.proof, pytest.mark.prefect, pytest.mark.timeout(3600)]

SHORT = "training.epochs=1 data.clips_per_video=1 "
SMALL = SHORT + " ".join(f"network.{stream}.{side}=32" for stream in ("rgb", "flow") for side in ("width", "height"))
ADDED = {
    "araflow train-eval --spec sample_flow": SHORT,
    "araflow train videos/": "--epochs 1",
    "araflow fetch hmdb51 --only": "--accept-licence",
    "araflow flow-quality": "--backend opencv --algorithm dis",
    "araflow train-eval --spec hmdb5": SMALL,
}
"""What is added to commands that begin so."""
ELSEWHERE = "araflow engine"
"""What needs an NVIDIA GPU: without one it says so, and shows no traceback."""


def sections() -> Iterator[tuple[str, list[str]]]:
    """Yield README's headings, and the commands below each."""
    for part in (ROOT / "README.md").read_text().split("\n## ")[1:]:
        lines = [line for block in re.findall(r"```sh\n(.*?)```", part, re.S) for line in block.splitlines()]
        yield part.partition("\n")[0], [line.partition("  #")[0].partition(" # ")[0].strip() for line in lines]


def demo() -> list[str]:
    recipe = (ROOT / "Makefile").read_text().partition("\ndemo: ")[2].partition("\n\n")[0]
    return [line.strip().replace("$(BIN)/", "") for line in recipe.splitlines() if line.startswith("\t$(BIN)/")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classes = ["walk", "run", "push"]
    draw_sample(tmp_path, clips_per_class=12, sources_per_class=12, width=64, height=48, classes=classes)
    shutil.rmtree(tmp_path / "splits")
    for name in ("new.mp4", "clip.mp4", "video.mp4"):
        shutil.copy(next((tmp_path / "videos").rglob("*.avi")), tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "araflow").write_text(f'#!/bin/sh\nexec {sys.executable} -m araflow "$@"\n')
    (tmp_path / "bin" / "araflow").chmod(0o755)
    (tmp_path / "home").mkdir()
    return tmp_path


def test_every_command_in_its_order(folder, web, need):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 4200), timeout=1):
        need("prefect", "something listens on port 4200, which the README's server needs")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {"HOME": str(folder / "home"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    environment.pop("XDG_CACHE_HOME", None)
    web.files |= mirrors.hmdb51(*mirrors.draw(folder / "drawn", clips_per_class=12))
    environment["ARAFLOW_REGISTRY"] = str(mirrors.registry(folder / "registry", web.files, web.url))

    def call(command: str) -> None:
        added = next((more for start, more in ADDED.items() if command.startswith(start)), "")
        begun = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", f"{command} {added}"], cwd=folder, env=environment, capture_output=True, text=True
        )
        print(f"{time.monotonic() - begun:7.1f} s  {command} {added}", flush=True)
        assert "Traceback" not in done.stderr, done.stderr
        if not command.startswith(ELSEWHERE):
            assert done.returncode == 0, f"{command} {added}\n{done.stdout}\n{done.stderr}"

    told, serving = [], None
    try:
        for heading, commands in sections():
            for command in demo() if heading == "Try it" else commands:
                if command == "araflow up":
                    with (folder / "up.log").open("w") as log:
                        serving = subprocess.Popen(
                            ["bash", "-c", f"exec {command}"],
                            cwd=folder,
                            env=environment,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    until_it_serves(serving, folder / "up.log", seconds=240)
                elif command.startswith("araflow "):
                    call(command)
                    told.append(command)
                else:
                    assert command.startswith("make ") or command == ". .venv/bin/activate", command
    finally:
        if serving is not None:
            os.killpg(serving.pid, signal.SIGINT)
            serving.wait(60)
    assert len(told) > 20
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert snippet is not None
    shown = snippet[1] + "\nassert flow.shape[2] == 2 and len(train) > 0\n"
    subprocess.run([sys.executable, "-c", shown], cwd=folder, check=True)
