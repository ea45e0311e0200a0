"""CONTRIBUTING's examples, put in their places in a copy of araflow, and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
from pathlib import Path
import numpy as np, torch
from click.testing import CliRunner
from araflow import exports, optical
from araflow.cli import main
from araflow.recognition import models
from araflow.store.manifest import Manifest

folder, output = map(Path, sys.argv[1:])

scene = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
choice = optical.choose("shift")
fields = list(optical.load(choice.backend).compute([scene, np.roll(scene, (2, -3), (0, 1))], choice.algorithm, "fast"))
np.testing.assert_allclose(fields[0], np.full((64, 64, 2), (-3, 2)), atol=0.01)

assert "tiny" in models.names() and models.load("tiny").PAPER and "torch" in sys.modules
network = models.load("tiny").build(models.load("tiny").INPUT, 3, 5, depth=None, dropout=0.5)
assert network(torch.zeros(2, 3, 8, 64, 64)).shape == (2, 5)

words = ["dataset.name=numbered", f"dataset.source={folder}", "optical.backend=shift", "split.protocol=random"]
words = [word for setting in words for word in ("--set", setting)]
result = CliRunner().invoke(main, ["flow", "--config", "folder", *words, "--out", str(folder / "out")])
assert result.exit_code == 0, result.output
made = Manifest.read(folder / "out")
assert list(made.columns("key", "backend")) == [("run/run-2", "shift"), ("walk/walk-1", "shift")]

(written,) = exports.load("lists").write(Manifest.read(output).select(split="test"), folder / "lists")
print(written.read_text(), end="")
"""


def test_the_examples_work_where_they_say_that_they_belong(tmp_path: Path):
    for name in ("araflow", "flows", "configs", "data_manifests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"^`(araflow/[\w/]+\.py)`:\n\n```python\n(.*?)^```$", text, re.M | re.S)
    assert len(examples) == 4
    for name, code in examples:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(code, encoding="utf-8")
    videos = ROOT / "tests" / "guards" / "videos"
    (tmp_path / "clips").mkdir()
    shutil.copy(videos / "walk" / "walk_one.avi", tmp_path / "clips" / "walk-1.avi")
    shutil.copy(videos / "run" / "run_one.avi", tmp_path / "clips" / "run-2.avi")
    (tmp_path / "program.py").write_text(f"if __name__ == '__main__':\n{PROGRAM.replace(chr(10), chr(10) + '    ')}")
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "clips"), str(ROOT / "tests/guards/output")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r"clips/\w+/\w+/rgb [34] [01]\n", run.stdout)
