"""The house: what packages there are, what each shows, what is private. import-linter holds who may use whom."""

import ast
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import araflow

ROOT = Path(araflow.__file__).parent
PACKAGES = (
    *("core", "media", "optical", "acquire", "store", "datasets"),
    *("build", "recognition", "report", "exports", "deploy", "cli"),
)
OURS = ("araflow", "flows")
HEAVY = ("av", "cv2", "lightning", "numba", "numpy", "onnx", "pandas", "prefect", "pyarrow", "pydantic", "torch")


def top(module: str) -> str:
    """The package on a floor that a module belongs to: ``araflow.store``, or ``flows``."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "araflow" else parts[0]


def imports(*, for_types: bool) -> Iterator[tuple[Path, str, str]]:
    """Yield file, importing package, and what it imports, by its full name.

    ``for_types`` says whether what only a type checker imports belongs to it.
    """
    for folder in OURS:
        for path in sorted((ROOT.parent / folder).rglob("*.py")):
            inside = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if not for_types:
                tree.body = [node for node in tree.body if "TYPE_CHECKING" not in ast.unparse(node).split(":")[0]]
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                else:
                    continue
                yield from ((path, top(inside), name) for name in names if name.split(".")[0] in OURS)


def test_the_root_holds_the_packages_and_nothing_else():
    found = {path.name for path in ROOT.iterdir()} - {"__pycache__"}
    assert found == {*PACKAGES, "__init__.py", "__main__.py", "py.typed"}


def test_what_is_private_to_a_package_is_used_there_alone():
    wrong = [
        f"{path}: {name}"
        for path, package, name in imports(for_types=True)
        if top(name) != package and any(part.startswith("_") and part != "__version__" for part in name.split("."))
    ]
    assert not wrong


def test_what_others_use_of_a_package_is_in_its_face():
    wrong = []
    for path, package, name in imports(for_types=False):
        parts = name.split(".")
        if top(name) == package or parts[0] != "araflow" or len(parts) < 3:
            continue
        if parts[2] not in importlib.import_module(".".join(parts[:2])).__all__:
            wrong.append(f"{path}: {name}")
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_says_what_there_is_and_all_of_it_is_there(package: str):
    face = importlib.import_module(f"araflow.{package}")
    modules = {module.name for module in pkgutil.iter_modules(face.__path__)}
    assert len(face.__all__) == len(set(face.__all__))
    for name in face.__all__:
        if name in modules:
            importlib.import_module(f"{face.__name__}.{name}")
        else:
            assert hasattr(face, name), name
    assert "May import" in face.__doc__


def test_every_all_of_every_module_resolves():
    for module in pkgutil.walk_packages([str(ROOT)], "araflow."):
        path = ROOT.parent.joinpath(*module.name.split("."))
        source = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
        if "__all__" in source.read_text(encoding="utf-8"):
            exec(f"from {module.name} import *", {})


def test_faces_import_nothing_heavy():
    code = f"import sys\nimport {', '.join(f'araflow.{package}' for package in PACKAGES)}\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_no_file_is_longer_than_a_newcomer_can_hold_in_the_head():
    files = (path for folder in OURS for path in (ROOT.parent / folder).rglob("*.py"))
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {path: count for path, count in lines.items() if count > 300}


CIRCLE = "No cycles are allowed in araflow.media"
UPWARDS = "araflow.recognition is not allowed to import araflow.build"
PLANTED = {
    "upwards": ("araflow/recognition/require.py", "from araflow.build import stages", UPWARDS),
    "a circle": (
        "araflow/media/fields.py",
        "from araflow.media import quantize",
        "No cycles are allowed in araflow.media",
    ),
    "prefect": ("araflow/core/clip.py", "import prefect", "araflow.core.clip -> prefect"),
}


@pytest.mark.parametrize("fault", [None, *PLANTED])
def test_the_linter_of_imports_passes_and_reports_what_is_planted(tmp_path: Path, fault: str | None):
    for folder in ("araflow", "flows", "benchmarks"):
        shutil.copytree(ROOT.parent / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT.parent / "pyproject.toml", tmp_path)
    words = ""
    if fault:
        name, line, words = PLANTED[fault]
        path = tmp_path / name
        path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == bool(fault), run.stdout
    assert words in run.stdout


def test_files_that_the_documentation_names_are_there():
    pattern = re.compile(r"(?<![\w/.<>-])((?:araflow|flows|tests|benchmarks|configs|docker|docs)/[\w./-]*\w)")
    pages = [*ROOT.parent.glob("*.md"), *(ROOT.parent / "docs").glob("*.md"), ROOT.parent / "benchmarks" / "README.md"]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    texts["CONTRIBUTING.md"] = re.sub(r"^`araflow/[\w/]+\.py`:$", "", texts["CONTRIBUTING.md"], flags=re.M)  # examples
    named = {(page, name) for page, text in texts.items() for name in pattern.findall(text)}
    absent = [f"{page}: {name}" for page, name in sorted(named) if not (ROOT.parent / name).exists()]
    assert not [line for line in absent if not line.startswith("CHANGELOG.md")]


def test_the_picture_shows_the_floors_as_the_linter_has_them():
    layers = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0][
        "layers"
    ]
    rooms = [room.strip().removeprefix("araflow.") for layer in layers for room in layer.split("|")]
    picture = (ROOT.parent / "docs" / "floors.svg").read_text(encoding="utf-8")
    assert re.findall(r'font-weight="bold"[^>]*>(\w+)<', picture) == rooms
