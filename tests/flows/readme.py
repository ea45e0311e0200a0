"""The README's walk-through, from nothing to a run in the history."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
UI = "http://127.0.0.1:4200"


def walk_through() -> list[str]:
    """Return its commands, without their comments."""
    text = (ROOT / "README.md").read_text().partition("\n## Run history\n")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.S)
    assert block is not None and UI in text
    return [line.partition("  #")[0].strip() for line in block[1].splitlines()]
