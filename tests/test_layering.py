"""Rules of the architecture that no type checker sees."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_prefect_is_used_in_flows_alone():
    for path in (ROOT / "araflow").rglob("*.py"):
        lines = [line for line in path.read_text().splitlines() if re.match(r"\s*(import|from)\s+prefect\b", line)]
        assert not lines, path


def test_worker_processes_do_not_import_what_they_do_not_need():
    names = ("prefect", "pyarrow", "click", "rich", "pydantic", "yaml")
    code = f"import sys, araflow.build.extract\nprint([name for name in {names} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_prefects_settings_are_applied_before_prefect_is_imported():
    code = "import sys\nfrom flows.server import settings\nprint('prefect' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_build_that_downloads_nothing_does_not_import_what_downloads():
    code = "import sys, araflow.build\nprint([name for name in ('httpx', 'rich', 'click') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_backends_import_nothing_that_may_be_absent_or_is_slow_until_they_are_asked():
    code = (
        "import sys\nfrom araflow import optical\nfrom araflow.core import resources\n"
        "for name in resources.plugins('optical/backends'):\n    optical.load(name).ALGORITHMS\n"
        "print([name for name in ('torch', 'numba', 'llvmlite', 'cupy', 'vpi') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_only_the_errors_module_defines_exceptions_that_users_meet():
    text = (ROOT / "araflow" / "core" / "errors.py").read_text()
    tree = text.split('"""')[1]
    for name in re.findall(r"^class (\w+)", text, re.M):
        assert name in tree, f"{name} is missing from the tree in errors.py"
