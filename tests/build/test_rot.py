"""The matrix of rot: what lies in an output × what may happen to it. Found, and healed by the remedy that is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from araflow.cli import main
from araflow.core.files import PROOF

RECORDS = ".araflow/records"
OTHER, BAD = "a/other", "b/bad"


def araflow(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def build(world: Path, *options: str) -> Result:
    fast = ("--preset", "fastest", "--workers", "1", "--set", "optical.quantizer=max_radius")
    return araflow("flow", world / "videos", "--out", world / "out", *fast, *options)


def tree(out: Path) -> dict[str, bytes]:
    """All that a build promises to make the same each time."""
    kept = [out / "manifest.parquet", *(out / "clips").rglob("*"), *(out / RECORDS).glob("*")]
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
    def edit(clip: Path) -> None:
        proof = json.loads((clip / PROOF).read_text())
        (clip / PROOF).write_text(json.dumps({**proof, **fields}))

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
    *(a_frame_more, a_flow_more, a_frame_renamed, all_renamed, a_frame_edited),
    *(whole_clip_of_another, folder_lost, proof_of_another_clip),
    *(edited(**{name: value}) for name, value in {"width": 64, "fps": 5.0, "outcome": "failed"}.items()),
    *(edited(**{name: value}) for name, value in {"key": OTHER, "backend": "vpi", "reason": "complete: x"}.items()),
    *(edited(**{name: value}) for name, value in {"radii": [1.0] * 3, "source_sha256": "0" * 64}.items()),
    *(edited(**{name: value}) for name, value in {"fingerprint": "0" * 16, "rgb_sha256": "0" * 64}.items()),
]
KEYS = {f"a/{number:02d} {harm.__name__.replace('/', ' ')}": harm for number, harm in enumerate(HARMS)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of four frames for each harm, another of the same frames in another order, and one of no use."""
    world = tmp_path_factory.mktemp("made")
    images = [np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8) for seed in range(4)]
    for key in (*KEYS, OTHER, BAD):
        folder = world / "videos" / key
        folder.mkdir(parents=True)
        for number, index in enumerate({OTHER: (3, 2, 1, 0), BAD: (0,)}.get(key, (0, 1, 2, 3))):
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
        assert tree(out) != before
    assert found_in(out, "--deep") == set(KEYS)
    assert "with --verify makes damaged clips" in araflow("manifest", "validate", out).output.splitlines()[-1]
    healed = build(world, "--verify")
    assert healed.exit_code == 3, healed.output
    assert f"{len(KEYS) + 1} done, 1 quarantined (1 one-frame); {len(KEYS)} worked on" in healed.output
    assert tree(out) == before
    assert found_in(out, "--deep") == set()


def test_what_a_build_sees_of_itself_is_healed_without_a_word(world: Path):
    """Whatever changes counts, sizes or proofs; the rest stays until it is asked for."""
    out = world / "out"
    before = tree(out)
    seen = ("deleted", "cut", "emptied", "longer", "more", "lost")
    for key, harm in KEYS.items():
        if key.endswith(seen) or PROOF in key or "proof" in key or "whole_clip" in key:
            harm(out / "clips" / key)
    assert build(world).exit_code == 3
    assert tree(out) == before
