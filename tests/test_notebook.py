"""The notebook in docs: clean always, and run from its first cell to its last by a proof."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from araflow.datasets._sample import draw_sample

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first_day.ipynb"
LESS = ["training.epochs=2", "deploy.bench_seconds=0"]
"""What the proof adds to the training: what the cells show is there however little was learned."""


def cells() -> list[str]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def test_it_holds_no_output_and_its_code_compiles():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    codes = cells()
    assert codes[0] == "!araflow train videos/"
    for code in codes:
        assert code.startswith("!araflow ") or compile(code, NOTEBOOK.name, "exec")


@pytest.mark.proof
@pytest.mark.prefect
@pytest.mark.timeout(1800)
def test_every_cell_runs(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'araflow[train]'")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'araflow[export]'")
    matplotlib.use("Agg")
    draw_sample(tmp_path, clips_per_class=8, sources_per_class=8, width=96, height=72, classes=["walk", "run"])
    shutil.copy(next((tmp_path / "videos").rglob("*.avi")), tmp_path / "new.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = {"__name__": "notebook"}
    for code in cells():
        if code.startswith("!"):
            words = [sys.executable, "-m", *code[1:].split(), *(LESS if " train " in code else ())]
            done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            exec(compile(code, NOTEBOOK.name, "exec"), names)
    assert names["figures"]["top1"]["count"] > 0
    assert names["flow"].ndim == 3
