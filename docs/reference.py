"""Write docs/reference.md from the docstrings of what is meant for use from Python; ``--check`` says if it is stale.

Nothing is imported, so that no library need be there: the source is read.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"
MODULES = (
    "core.clip",
    "core.errors",
    "store.manifest",
    "recognition.data.clips",
    "recognition.data.frames",
    "recognition.data.windows",
    "media.flow_files",
    "media.quantize",
    "media.video",
    "optical",
    "build.run",
    "recognition.experiment",
    "recognition.training.run",
    "recognition.results",
    "recognition.prediction.predict",
    "deploy.runners",
)
HEAD = """# Reference: araflow from Python

Written from the docstrings by `make schema`; do not edit. [howto.md](howto.md) has examples,
[architecture.md](architecture.md) says where everything else lies.
"""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def prose(node: ast.Module | ast.ClassDef | _Function) -> str:
    """Return a docstring as Markdown: ``Args:`` and its like become bold words, their entries a list."""
    text = ast.get_docstring(node) or ""
    if isinstance(node, ast.Module) and re.search("^(    |==)", text, re.M):  # a drawing or a table
        return f"```text\n{text}\n```"
    lines, section = [], ""
    for line in text.replace("``", "`").splitlines():
        if found := re.fullmatch(r"(Args|Attributes|Returns|Yields|Raises):", line):
            section = found[1]
            lines += [f"**{section}**", ""]
        elif section in ("Returns", "Yields"):
            lines.append(line.strip())
        elif section and (entry := re.fullmatch(r" {4}(\*{0,2}\w+): (.*)", line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif section:
            lines.append(line.removeprefix("      "))
        else:
            lines.append(line)
    return "\n".join(lines)


def signature(node: _Function) -> str:
    """Return a function's signature on one line."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def members(node: ast.ClassDef) -> list[str]:
    """Return a line for each public method: its signature, and the first sentence of what it says of itself."""
    found = []
    for each in node.body:
        overloaded = isinstance(each, _Function) and any("overload" in ast.unparse(one) for one in each.decorator_list)
        if isinstance(each, _Function) and not each.name.startswith("_") and not overloaded:
            shown = (
                each.name
                if any(ast.unparse(one).endswith("property") for one in each.decorator_list)
                else signature(each)
            )
            said = (ast.get_docstring(each) or "").replace("``", "`").split("\n\n")[0].replace("\n", " ")
            found.append(f"- `{shown}`: {said}")
    return found


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for name in MODULES:
        path = ROOT / "araflow" / name.replace(".", "/")
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        module = ast.parse(source.read_text(encoding="utf-8"))
        parts.append(f"## araflow.{name}\n\n{prose(module)}\n")
        for node in module.body:
            if not isinstance(node, ast.ClassDef | _Function) or node.name.startswith("_"):
                continue
            if isinstance(node, ast.ClassDef):
                bases = ", ".join(ast.unparse(base) for base in node.bases)
                parts.append(
                    f"### class {node.name}\n\n`{node.name}({bases})`\n\n{prose(node)}\n".replace("()`\n", "`\n", 1)
                )
                parts += ["\n".join(methods) + "\n"] if (methods := members(node)) else []
            else:
                parts.append(f"### {node.name}\n\n```python\n{signature(node)}\n```\n\n{prose(node)}\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def main() -> None:
    """Write the page, or say that it is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is stale")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/reference.md is stale: make schema")


if __name__ == "__main__":
    main()
