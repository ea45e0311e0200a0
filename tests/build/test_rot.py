"""The matrix of rot: what lies in an output × what may happen to it. Found, and healed by the remedy that is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3_server
from click.testing import CliRunner, Result

from araflow.build import shards
from araflow.build.pool import WorkerPool
from araflow.build.resolved import resolve
from araflow.cli import main
from araflow.core.clip import Clip
from araflow.core.files import PROOF
from araflow.core.spec import RunSpec
from araflow.core.spec_file import parse
from araflow.store.address import open_store
from araflow.store.layout import record_name

RECORDS = ".araflow/records"
OTHER, BAD = "a/other", "b/bad "


def araflow(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


FAST = {"optical": {"preset": "fastest", "quantizer": "max_radius"}}


def build(world: Path, *options: str) -> Result:
    fast = ("--preset", "fastest", "--quantizer", "max_radius", "--workers", "1")
    return araflow("flow", world / "videos", "--out", world / "out", *fast, *options)


def tree(out: Path) -> dict[str, bytes]:
    """All that a build promises to make the same each time."""
    kept = [out / "manifest.parquet", *out.glob("clips/**/*"), *out.glob(f"{RECORDS}/*")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept if path.is_file()}


# --- what may happen to any file


def deleted(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def zeroed_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(20))


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("nowhere")


ANY: list[Callable[[Path], None]] = [deleted, cut, emptied, zeroed, zeroed_tail, one_bit, longer]


# --- what may happen to a clip's files


def exchange(one: Path, other: Path) -> None:
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


def frames_exchanged(clip: Path) -> None:
    exchange(clip / "rgb/0000.png", clip / "rgb/0001.png")


def flows_exchanged(clip: Path) -> None:
    exchange(clip / "u/0000.jpg", clip / "u/0001.jpg")


def u_and_v_exchanged(clip: Path) -> None:
    exchange(clip / "u", clip / "v")


def frames_of_another_clip(clip: Path) -> None:
    shutil.rmtree(clip / "rgb")
    shutil.copytree(clip.parent / "other" / "rgb", clip / "rgb")


def a_frame_of_another_clip(clip: Path) -> None:
    shutil.copy(clip.parent / "other" / "rgb" / "0000.png", clip / "rgb" / "0000.png")


def a_frame_more(clip: Path) -> None:
    shutil.copy(clip / "rgb/0000.png", clip / "rgb/0004.png")


def a_flow_more(clip: Path) -> None:
    shutil.copy(clip / "u/0000.jpg", clip / "u/0003.jpg")


def a_frame_renamed(clip: Path) -> None:
    (clip / "rgb/0003.png").rename(clip / "rgb/0009.png")


def all_renamed(clip: Path) -> None:
    for path in [*clip.glob("*/0003.*"), *clip.glob("*/0002.*")]:
        path.rename(path.with_stem(f"00{int(path.stem) + 1:02d}"))


def a_frame_edited(clip: Path) -> None:
    image = cv2.imread(str(clip / "rgb/0002.png"))
    cv2.imwrite(str(clip / "rgb/0002.png"), 255 - image)


def whole_clip_of_another(clip: Path) -> None:
    shutil.rmtree(clip)
    shutil.copytree(clip.parent / "other", clip)


def folder_lost(clip: Path) -> None:
    shutil.rmtree(clip / "v")


def proof_of_another_clip(clip: Path) -> None:
    shutil.copy(clip.parent / "other" / PROOF, clip / PROOF)


def edited(**fields: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        record = path / PROOF if path.is_dir() else path
        record.write_text(json.dumps({**json.loads(record.read_text()), **fields}))

    edit.__name__ = f"proof edited {' '.join(fields)}"
    return edit


def of(name: str, harm: Callable[[Path], None]) -> Callable[[Path], None]:
    def harmed(clip: Path) -> None:
        harm(clip / name)

    harmed.__name__ = f"{name} {harm.__name__}"
    return harmed


HARMS = [
    *(of(name, harm) for name in ("rgb/0001.png", "u/0001.jpg", "v/0002.jpg", PROOF) for harm in ANY),
    *(frames_exchanged, flows_exchanged, u_and_v_exchanged, frames_of_another_clip, a_frame_of_another_clip),
    *(a_frame_edited, whole_clip_of_another, folder_lost, proof_of_another_clip),
    *(edited(**{name: value}) for name, value in {"width": 64, "fps": 5.0, "outcome": "failed"}.items()),
    *(edited(**{name: value}) for name, value in {"key": OTHER, "backend": "vpi", "reason": "complete: x"}.items()),
    *(edited(**{name: value}) for name, value in {"radii": [1.0] * 3, "source_sha256": "0" * 64}.items()),
    *(edited(**{name: value}) for name, value in {"fingerprint": "0" * 16, "rgb_sha256": "0" * 64}.items()),
]
REFUSED = [
    *ANY,
    *(edited(**{name: value}) for name, value in {"outcome": "done", "reason": "empty", "key": "b/none"}.items()),
]
"""What may happen to the record of a clip that was not made."""
BADS = {f"{BAD}{number} {harm.__name__}": harm for number, harm in enumerate(REFUSED)}
KEYS = {f"a/{number:02d} {harm.__name__.replace('/', ' ')}": harm for number, harm in enumerate(HARMS)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of four frames for each harm, another of the same frames in another order, and one of no use."""
    world = tmp_path_factory.mktemp("made")
    images = [np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8) for seed in range(4)]
    for key in (*KEYS, OTHER, *BADS):
        folder = world / "videos" / key
        folder.mkdir(parents=True)
        for number, index in enumerate((0,) if key in BADS else (3, 2, 1, 0) if key == OTHER else (0, 1, 2, 3)):
            cv2.imwrite(str(folder / f"{number}.bmp"), images[index])
    assert build(world).exit_code == 3
    assert araflow("manifest", "validate", "--deep", world / "out").exit_code == 0
    return world


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "videos").symlink_to(made / "videos")
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path


def found_in(out: Path, *options: str) -> set[str]:
    """The clips that ``validate`` names; it fails if it names any."""
    result = araflow("manifest", "validate", "--json", *options, out)
    problems = json.loads(result.stdout)["problems"]
    assert result.exit_code == bool(problems)
    return {problem.partition(": ")[0] for problem in problems}


def test_what_happens_to_clips_is_found_and_healed(world: Path):
    out = world / "out"
    before = tree(out)
    for key, harm in KEYS.items():
        harm(out / "clips" / key)
    for key, harm in BADS.items():
        harm(out / record_name(key))
    # A record of a clip that was not made may be absent from a copy; status shows it as left.
    assert found_in(out, "--deep") == {*KEYS, *BADS} - {f"{BAD}0 deleted"}
    assert found_in(out) >= {key for key in KEYS if PROOF not in key and "proof" not in key}
    assert "with --verify makes damaged clips" in araflow("manifest", "validate", out).output.splitlines()[-1]
    healed = build(world, "--verify")
    assert healed.exit_code == 3, healed.output
    assert f"{len(BADS)} quarantined ({len(BADS)} one-frame); {len(KEYS) + len(BADS)} worked on" in healed.output
    assert tree(out) == before
    assert found_in(out, "--deep") == set()


def test_what_a_build_sees_of_itself_is_healed_without_a_word(world: Path):
    """Whatever changes counts, sizes or proofs; the rest stays until it is asked for."""
    out = world / "out"
    before = tree(out)
    seen = ("deleted", "cut", "emptied", "longer", "lost")
    for key, harm in KEYS.items():
        if key.endswith(seen) or PROOF in key or "proof" in key or "whole_clip" in key:
            harm(out / "clips" / key)
    assert build(world).exit_code == 3
    assert tree(out) == before


def test_retry_heals_it_too(world: Path):
    out = world / "out"
    before = tree(out)
    u_and_v_exchanged(out / "clips" / OTHER)
    assert "nothing to do" in araflow("retry", out, "--yes").output
    assert found_in(out) == {OTHER}
    healed = araflow("retry", out, "--damaged", "--yes")
    assert "1 worked on" in healed.output.splitlines()[-1], healed.output
    assert tree(out) == before and found_in(out, "--deep") == set()


def test_what_is_not_the_clips_stays_and_is_named(world: Path):
    """Such as ``rgb/0004.png`` of a clip of four frames: somebody's, for all that is known."""
    out = world / "out"
    before = tree(out)
    harmed = dict(zip(KEYS, (a_frame_more, a_flow_more, a_frame_renamed, all_renamed), strict=False))
    for key, harm in harmed.items():
        harm(out / "clips" / key)
    theirs = sorted(tree(out).keys() - before.keys())
    assert found_in(out) == set(harmed)
    said = build(world, "--verify").output.replace("\n", " ")
    assert "rgb holds 1 files that are not the clip's, such as rgb/0004.png: move them away" in said
    for name in theirs:
        (out / name).unlink()
    build(world)
    assert tree(out) == before


def test_a_damaged_clip_whose_source_is_gone_is_a_row_that_says_so(made: Path, world: Path):
    resolved = resolve(parse({"name": "test", "out": str(world / "out"), **FAST}), source=made / "videos")
    frames_exchanged(world / "out" / "clips" / OTHER)
    clip = Clip("folder", OTHER, "a", name="other", source=None)
    run = RunSpec.model_validate({"verify": True})
    with open_store(world / "out").locked() as store, WorkerPool(1) as pool:
        (record,) = shards.extract_shard([clip], resolved.recipe, store, pool, run)
    assert (record.outcome, record.reason_code) == ("quarantined", "missing")
    assert (world / "out" / "clips" / OTHER / "rgb" / "0000.png").is_file(), "nothing is removed"


@pytest.mark.s3
@pytest.mark.proof
def test_what_happens_in_object_storage_is_found_and_healed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In short: ``test_damaged_files_are_found_and_replaced`` of the contract of outputs."""
    import boto3

    with s3_server.started(tmp_path / "swift") as server:
        for name, value in s3_server.environment(server).items():
            monkeypatch.setenv(name, value)
        bucket = boto3.resource("s3", endpoint_url=server.url).Bucket("rot")
        bucket.create()
        for key in (OTHER, "b/3"):
            shutil.copytree(made / "videos" / OTHER, tmp_path / "videos" / key)
        fast = ("--preset", "fastest", "--workers", "1", "--out", "s3://rot/out")
        assert araflow("flow", tmp_path / "videos", *fast).exit_code == 0
        before = {one.key: one.get()["Body"].read() for one in bucket.objects.all()}
        folder = f"out/clips/{OTHER}"
        bucket.put_object(Key=f"{folder}/rgb/0000.png", Body=before[f"{folder}/rgb/0001.png"])
        bucket.put_object(Key=f"{folder}/rgb/0001.png", Body=before[f"{folder}/rgb/0000.png"])
        assert f"{OTHER}: rgb: names and bytes" in araflow("manifest", "validate", "--deep", "s3://rot/out").output
        healed = araflow("flow", tmp_path / "videos", *fast, "--verify")
        assert "2 clips listed: 2 done; 1 worked on" in healed.output, healed.output
        after = {one.key: one.get()["Body"].read() for one in bucket.objects.all()}
        assert {name for name in after if after[name] != before.get(name)} <= {"out/.araflow/build.json"}
        assert "2 rows, 0 differences" in araflow("manifest", "validate", "--deep", "s3://rot/out").output


# --- the manifest


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize("harm", ANY)
def test_a_manifest_that_is_damaged_is_written_anew(world: Path, harm: Callable[[Path], None]):
    before = tree(world / "out")
    harm(world / "out" / "manifest.parquet")
    assert araflow("manifest", "validate", "--deep", world / "out").exit_code == 1
    assert "nothing to do" in build(world).output
    assert {**tree(world / "out"), **before} == tree(world / "out")


def test_an_edit_of_any_column_is_found_and_healed(world: Path):
    file = world / "out" / "manifest.parquet"
    content, table = file.read_bytes(), pq.read_table(file)
    for name in table.column_names:
        values = table.column(name).to_pylist()
        other = next((value for value in values if value != values[0]), None)
        fresh = {"string": "x", "list": [1.0], "bool": True}.get(
            str(table.schema.field(name).type).partition("<")[0], 7
        )
        values[0] = other if other is not None else fresh
        column = pa.array(values, table.schema.field(name).type)
        pq.write_table(table.set_column(table.column_names.index(name), table.schema.field(name), column), file)
        found = araflow("manifest", "validate", "--deep", world / "out")
        assert found.exit_code == 1, name
    for rows in (table.take(list(range(len(table)))[::-1]), table.slice(1)):
        pq.write_table(rows, file)
        assert "rows or metadata are not those" in araflow("manifest", "validate", "--deep", file).output
    assert "nothing to do" in build(world).output
    assert file.read_bytes() == content
