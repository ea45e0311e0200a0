"""Print what araflow needs, a requirement a line, so that an image can hold it in a layer below araflow's own code.

Usage: python requirements.py PYPROJECT [EXTRA,EXTRA...]
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], extras: Sequence[str]) -> Iterator[str]:
    """Yield the requirements of a project and of its extras, which may name one another.

    Args:
        project: The table ``project`` of ``pyproject.toml``.
        extras: Names of extras.

    Raises:
        SystemExit: There is no such extra.
    """
    optional = project["optional-dependencies"]
    itself = re.compile(rf"{re.escape(project['name'])}\[(.+)\]")
    found = list(project["dependencies"])
    for extra in extras:
        if extra not in optional:
            sys.exit(f"no extra {extra!r}; there are {', '.join(optional)}")
        found += optional[extra]
    for requirement in found:
        if names := itself.fullmatch(requirement):
            yield from requirements(project | {"dependencies": []}, names[1].split(","))
        else:
            yield requirement


if __name__ == "__main__":
    table = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    names = [name for text in sys.argv[2:] for name in text.split(",") if name]
    sys.stdout.write("".join(f"{line}\n" for line in dict.fromkeys(requirements(table, names))))
