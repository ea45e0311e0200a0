"""Rules of the architecture that no type checker sees."""

import re
import subprocess
import sys
from pathlib import Path

from araflow.core import errors

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


def drawn(tree: str) -> dict[str, str]:
    """The errors of a drawn tree, each with the one that it stands below."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in tree.splitlines():
        if found := re.match(r" {4}((?:│   |    )*)(├── |└── )?(\w+Error) {2,}\S", line):
            depth = len(found[1]) // 4 + bool(found[2])
            above[depth:] = [found[3]]
            parents[found[3]] = above[depth - 1] if depth else "Exception"
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is():
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    ours = {name: value.__base__.__name__ for name, value in classes.items() if issubclass(value, Exception)}
    assert drawn(errors.__doc__ or "") == ours


def test_the_errors_module_names_every_error_that_users_meet():
    """All of araflow's are there; what another module narrows for itself is said to be what."""
    tree, said = drawn(errors.__doc__ or ""), " ".join((errors.__doc__ or "").split())
    above = {name: name for name in tree}
    files = [path for folder in ("araflow", "flows") for path in (ROOT / folder).rglob("*.py")]
    defined = [
        found for path in files for found in re.findall(r"^class (\w+)\((?:\w+\.)?(\w+Error)\)", path.read_text(), re.M)
    ]
    while more := {name: above[base] for name, base in defined if base in above and name not in above}:
        above |= more
    assert len(above) > len(tree)
    for name in above.keys() - tree:
        told = re.search(rf"\b{name}\b(?:(?! are )[\w, ])* are {above[name]}s", said)
        assert told, f"errors.py does not say that {name} is a {above[name]}"
