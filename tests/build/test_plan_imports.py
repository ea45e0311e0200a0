"""A plan from split files alone takes well under a second, for it imports nothing that decodes, stores or downloads."""

import subprocess
import sys
from pathlib import Path

CLASSES = ("walk", "ride_bike", "run", "fall_floor", "push")
HEAVY = ("av", "pyarrow", "prefect", "torch", "numba", "httpx", "rarfile", "filelock", "ssl", "multiprocessing.pool")
CODE = f"""
import sys
from click.testing import CliRunner
from araflow.cli import main
result = CliRunner().invoke(main, ["plan", "hmdb5", "dataset.splits=" + sys.argv[1]])
assert result.exit_code == 0, result.output
print([name for name in {HEAVY} if name in sys.modules], "no videos at hand" in result.output)
"""


def test_a_plan_from_split_files_imports_nothing_that_makes_clips(tmp_path: Path):
    for label in CLASSES:
        for fold in (1, 2, 3):
            names = [f"film{number}_{label}_f_cm_np1_fr_med_0.avi {1 + number % 2}" for number in range(4)]
            (tmp_path / f"{label}_test_split{fold}.txt").write_text("\n".join(names) + "\n")
    run = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("[] True", "")


def test_a_worker_imports_nothing_that_it_does_not_need():
    """Each process of a build starts anew, and Pydantic alone takes a tenth of a second."""
    code = (
        "import sys, araflow.build.extract; print([n for n in ('pydantic', 'pyarrow', 'prefect') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
