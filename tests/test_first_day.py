"""A first day: a folder of one's own videos, and no command but those of README's "Your own videos"."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from araflow.datasets._sample import draw_sample

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.proof, pytest.mark.prefect, pytest.mark.timeout(3600)]


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text().partition("\n## Your own videos\n")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.S)
    assert block is not None
    return [line.partition("  #")[0].strip() for line in block[1].splitlines()]


def call(command: str, folder: Path) -> str:
    """Run a command of README's where its reader is, and say how long it took."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    words = command.split()
    assert words[0] == "araflow"
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=kept | {"HOME": str(home)}, capture_output=True, text=True
    )
    print(f"{time.monotonic() - begun:7.1f} s  {command}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    print(done.stderr, done.stdout, sep="\n")
    return done.stdout


def by_onnxruntime(model: Path, labels: int) -> None:
    """What is given to somebody who has neither araflow nor torch: the file alone says what it takes and gives."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    described = session.get_modelmeta().custom_metadata_map
    (taken,) = session.get_inputs()
    (logits,) = session.run(None, {taken.name: np.zeros([1, *taken.shape[1:]], np.float32)})
    assert logits.shape == (1, labels) and np.isfinite(logits).all()
    assert len(json.loads(described["araflow"])["model"]["labels"]) == labels


def a_day(folder: Path, labels: int, chance: float) -> None:
    """Follow README in a folder with ``videos`` and ``new.mp4``; hold what comes of it against its promises."""
    train, predict = commands()
    assert train == "araflow train videos/"
    assert predict.split()[:3] == ["araflow", "predict", "runs/videos/model.onnx"]
    last = call(train, folder).splitlines()[-1]
    found = re.fullmatch(r"videos: top-1 ([\d.]+) % \(\d+ of \d+ test clips; 95 % interval (\d+) to .*", last)
    assert found is not None, last
    assert float(found[2]) > 100 * chance, "better than chance, whatever the luck with the test clips"
    assert "1 of 1 video" in call(predict, folder)
    weights = next(file for name in ("best", "last") if (file := folder / f"runs/videos/{name}.safetensors").is_file())
    same = call(f"araflow predict runs/videos/model.onnx new.mp4 --against {weights} --json", folder)
    assert json.loads(same)["same"] == 1
    by_onnxruntime(folder / "runs/videos/model.onnx", labels)
    before = weights.read_bytes()
    assert "nothing to do" in call(train, folder).splitlines()[-1]
    assert weights.read_bytes() == before


def test_from_drawn_videos(tmp_path):
    classes = ["walk", "run", "push"]
    draw_sample(tmp_path, clips_per_class=24, sources_per_class=24, width=160, height=120, classes=classes)
    shutil.copy(next((tmp_path / "videos").rglob("*.avi")), tmp_path / "new.mp4")
    a_day(tmp_path, 3, 1 / 3)


def test_from_real_videos(tmp_path, real_data):
    classes = ("walk", "run", "push", "wave", "pour")
    for label in classes:
        (tmp_path / "videos" / label).mkdir(parents=True)
        for video in sorted((real_data / "jhmdb5" / label).iterdir()):
            (tmp_path / "videos" / label / video.name).symlink_to(video)
    shutil.copy(next((tmp_path / "videos").rglob("*.avi")), tmp_path / "new.mp4")
    a_day(tmp_path, 5, 1 / 5)
