"""``araflow retry`` of a folder that came from elsewhere: what its note says is shown, and asked for."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from inline_world import araflow

from araflow.build import note as build_note
from araflow.build import retry
from araflow.core import spec_file
from araflow.store.address import open_store

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A finished output, but for its manifest."""
    folder = Path(shutil.copytree(made / "out", tmp_path / "out"))
    (folder / "manifest.parquet").unlink()
    return folder


def edit(out: Path, spec: dict[str, dict[str, Any]] | None = None, **changes: object) -> None:
    file = out / ".araflow" / "build.json"
    note = json.loads(file.read_text())
    for group, values in (spec or {}).items():
        note["spec"][group] |= values
    file.write_text(json.dumps(note | changes))


def clips(out: Path) -> list[str]:
    return sorted(path.parent.relative_to(out).as_posix() for path in out.glob("clips/*/*/.araflow.json"))


def test_a_note_of_ones_own_needs_no_question_wherever_the_folder_lies(out: Path):
    assert build_note.is_own(open_store(out))
    result = araflow("retry", out)
    assert (result.exit_code, "may have come with" in result.stderr) == (0, False)
    assert (out / "manifest.parquet").exists()


def test_what_a_note_from_elsewhere_names_is_shown_and_not_read(out: Path, made: Path, tmp_path: Path):
    secret = Path(shutil.copytree(made / "videos", tmp_path / "secret"))
    before = clips(out)
    edit(out, source=str(secret))
    assert not build_note.is_own(open_store(out))
    refused = araflow("retry", out)
    assert refused.exit_code == 1
    assert f"  read {secret}\n  make clips on this machine, and write them to {out}\n" in refused.stderr
    assert refused.stderr.endswith(f"error: {out}: nobody is here to be asked: --yes does all that\n")
    assert not (out / "manifest.parquet").exists()
    assert clips(out) == before
    assert araflow("retry", out, "--yes").exit_code == 0
    assert (out / "manifest.parquet").exists()
    assert araflow("retry", out).exit_code == 0  # the note is this araflow's now


def test_a_note_without_a_signature_is_anybodys(out: Path):
    edit(out, signature=None)
    assert "may have come with the folder" in araflow("retry", out).stderr


def test_an_address_of_a_note_from_elsewhere_is_not_asked_for(out: Path, web):
    address = web.url("/x.zip")
    dataset = {"name": "folder", "source": address, "splits": None}
    edit(out, {"dataset": dataset, "split": {"protocol": "random"}}, source=None)
    refused = araflow("retry", out)
    assert (refused.exit_code, f"  download {address}\n" in refused.stderr) == (1, True), refused.stderr
    assert web.requests == []


def test_nobody_consents_by_a_note(out: Path):
    edit(out, {"dataset": {"name": "hmdb51", "source": None, "splits": None}}, source=None, accept_licence=True)
    refused = araflow("retry", out, "--yes")
    assert refused.exit_code == 1
    assert "Accept with --accept-licence" in refused.stderr


def test_a_scheduler_is_the_users_own_word(out: Path):
    dask = spec_file.load("folder", ["dataset.source=x", "run.engine=dask", "run.dask_address=tcp://evil:1"])
    assert retry.with_scheduler(dask, None, trusted=True) == dask
    untrusted = retry.with_scheduler(dask, None, trusted=False)
    assert (untrusted.run.engine, untrusted.run.dask_address) == ("local", None)
    for trusted in (True, False):
        named = retry.with_scheduler(dask, "tcp://mine:1", trusted=trusted)
        assert (named.run.engine, named.run.dask_address) == ("dask", "tcp://mine:1")
    edit(out, {"run": {"engine": "dask", "dask_address": "tcp://evil:1"}})
    assert "  make clips on this machine, and" in araflow("retry", out).stderr
    assert "  make clips on tcp://mine:1, and" in araflow("retry", out, "--dask-address", "tcp://mine:1").stderr


def test_every_address_and_folder_of_a_note_is_shown(out: Path):
    note = build_note.read(open_store(out))
    assert note is not None
    given = ["dataset.splits=/b", "dataset.folder=/c", "dataset.mirror=d.org", "dataset.youtube=true"]
    spec = spec_file.load("hmdb5", ["dataset.source=/a", *given, "run.engine=workers", f"out={out}"])
    shown = "\n".join(retry.wanted(dataclasses.replace(note, source=None), spec))
    for text in ("read /a", "read /b", "in /c", "from d.org", "ask YouTube", "work pool", f"to {out}"):
        assert text in shown
