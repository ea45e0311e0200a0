"""What the Prefect UI is given: it reads links, pages, descriptions and every text in a table as Markdown."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt

from araflow.core.spec import BuildSpec
from araflow.store.manifest import Manifest
from flows import show

WRITTEN = Path(__file__).parents[1] / "guards" / "output"
NAMES = ["_a_/`rm`", "b/*x* [y](javascript:z)", "c/<img src=x>", "d/a|b", "e/-_hbPLsZvvo_000019"]


def seen(text: str) -> str:
    """Return what a reader sees of Markdown."""
    return html.unescape(re.sub(r"<[^>]*>", "", MarkdownIt().render(text))).strip()


def spec(out: str) -> BuildSpec:
    return BuildSpec.model_validate({"name": "x", "dataset": {"name": "sample"}, "out": out})


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Mapping[str, Any]]:
    """What the server was given, by key."""
    found: dict[str, Mapping[str, Any]] = {}
    monkeypatch.setattr(show, "shown", lambda create, **artifact: found.update({artifact["key"]: artifact}))
    return found


@pytest.fixture
def written() -> Manifest:
    """The clips of a build under awkward names, all of them quarantined."""
    read = Manifest.read(WRITTEN)
    table = read.table
    columns = {"key": NAMES, "label": [name.partition("/")[0] for name in NAMES], "reason": NAMES}
    columns["outcome"] = ["quarantined"] * len(NAMES)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), pa.array(values))
    metadata = {**read.metadata, "name": "[my](build)", "labels": sorted(columns["label"]), "software": "a_b_ *1*"}
    return Manifest(table, metadata, Path("/data/_x_"))


def test_names_are_shown_as_they_are(written: Manifest, given: dict[str, Mapping[str, Any]]):
    show.manifest(written, spec("/data"))
    show.outcomes(written)
    assert [seen(row["key"]) for row in given["quarantined"]["table"]] == NAMES
    assert [seen(row["reason"]) for row in given["quarantined"]["table"]] == NAMES
    assert [seen(row["class"]) for row in given["outcomes"]["table"]] == ["_a_", "b", "c", "d", "e"]
    assert [row["listed"] for row in given["outcomes"]["table"]] == [1] * 5
    assert seen(given["outcomes"]["description"]).startswith("Clips of /data/_x_ by class, outcome and split; in all: ")
    page = seen(given["lineage"]["markdown"])
    assert page.startswith("[my](build)\n")
    assert "software: a_b_ *1*" in page


@pytest.mark.parametrize("out", ["/data/_x_ [1]", "s3://bucket/a b_(1)_"])
def test_where_the_manifest_lies_is_text_since_no_browser_opens_it(
    out: str, written: Manifest, given: dict[str, Mapping[str, Any]]
):
    show.manifest(written, spec(out))
    shown = MarkdownIt().render(given["manifest"]["markdown"])
    assert "<a" not in shown
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)).strip() == f"{out}/manifest.parquet"
