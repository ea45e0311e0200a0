"""Whether a build has nothing to do is known without a server, and never said of one that has."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from araflow.build import note, run, stages, unchanged
from araflow.build.resolved import resolve
from araflow.core import spec_file
from araflow.core.spec import BuildSpec
from araflow.datasets._sample import draw_sample
from araflow.store.address import open_store


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> BuildSpec:
    """Settings of a folder of two clips, which has been built."""
    folder = tmp_path_factory.mktemp("unchanged")
    draw_sample(folder, clips_per_class=1, width=64, height=64, seconds=(0.2, 0.2), classes=("walk", "push"))
    given = [f"dataset.source={folder}/videos", f"out={folder}/out", "split.protocol=random", "run.workers=1"]
    made = spec_file.load("folder", given)
    run.carry_out(stages.look(resolve(made)), plain=False)
    return made


def seen(spec: BuildSpec) -> bool:
    return unchanged.since_last_run(stages.look(resolve(spec)))


def test_a_finished_build_has_nothing_to_do_until_a_source_changes(spec: BuildSpec):
    assert seen(spec)
    found = note.read(open_store(spec.out))
    assert found is not None and not found.plain, "what is tried again has a history, too"
    assert not seen(spec.model_copy(update={"run": spec.run.model_copy(update={"verify": True})}))
    assert not seen(spec.model_copy(update={"split": spec.split.model_copy(update={"seed": 9})}))
    assert not seen(spec.model_copy(update={"optical": spec.optical.model_copy(update={"bound": 10.0})}))


def test_what_the_clips_decided_of_their_split_is_no_change(spec: BuildSpec):
    auto = spec.model_copy(update={"split": spec.split.model_copy(update={"protocol": "auto"})})
    try:
        run.carry_out(stages.look(resolve(auto)))
        assert seen(auto)
        assert not seen(spec)
    finally:
        run.carry_out(stages.look(resolve(spec)))


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(path.read_bytes()), lambda path: os.utime(path, (0, 0))]
)
def test_a_source_that_was_touched_or_replaced_by_an_older_one_is_read(
    spec: BuildSpec, change: Callable[[Path], object]
):
    video = next(Path(str(spec.dataset.source)).glob("walk/*.avi"))
    time.sleep(0.05)  # a file system's clock has steps
    change(video)
    assert not seen(spec)
    run.carry_out(stages.look(resolve(spec)))
    assert seen(spec)


def test_a_clip_that_is_gone_is_made(spec: BuildSpec):
    proof = next(Path(spec.out).glob("clips/walk/*"))
    proof.rename(proof.with_name("elsewhere"))
    try:
        assert not seen(spec)
    finally:
        proof.with_name("elsewhere").rename(proof)
