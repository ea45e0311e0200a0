"""Builds whose workers are this process: fakes of devices exist nowhere else."""

from pathlib import Path

import inline_pool
from inline_pool import Inline

from araflow.build import run as build
from araflow.core.spec_file import parse
from araflow.datasets._sample import draw_sample


class Pool(Inline):
    """Keeps what was asked for."""

    def __init__(self):
        self.jobs = []

    def submit(self, function, job, timeout):
        self.jobs.append(job)
        return super().submit(function, job, timeout)


def videos(folder):
    """Two drawn clips of 96x64 pixels: ``walk/...`` and ``push/...``."""
    draw_sample(
        folder,
        clips_per_class=1,
        sources_per_class=1,
        width=96,
        height=64,
        seconds=(0.2, 0.3),
        classes=["walk", "push"],
    )
    return folder / "videos"


def made(monkeypatch, source, out, run=None, rgb=None, **flow):
    """Build ``source`` into ``out``; return the manifest and the jobs that were done."""
    pool = Pool()
    inline_pool.use(monkeypatch, pool)
    tree = {"name": "test", "out": str(out), "optical": flow, "rgb": rgb or {}, "run": {"retries": 0, **(run or {})}}
    return build.build(parse(tree), source=Path(source)), pool.jobs


def files(folder):
    """Every file below a folder: relative name to its inode and bytes."""
    found = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.stat().st_ino, path.read_bytes()) for path in found}
