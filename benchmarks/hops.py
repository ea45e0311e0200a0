"""How many hops lie between a command and the result of one clip or one window: ``python -m benchmarks.hops KIND``.

A hop is a call from a function in one file of ``araflow/`` or ``flows/`` to a function in another; what a reader does
who follows the code and opens the next file. Each pair of functions counts once, however often one calls the other.
Comprehensions, lambdas and class bodies are no functions here, what runs while a module is imported does not count, and
where Prefect, Click, Lightning or Pydantic lies between two functions of ours, it is looked through. What begins on
another thread has no caller. The worker process is replaced by a thread, so that a clip's own making is seen.

``build``       ``araflow build`` of a folder with one video, until that clip is made (``extract.make`` returns)
``flow``        ``araflow flow`` of the same
``train-eval``  ``araflow train-eval`` of a manifest, until the first training step has a loss

It also counts how often the specification's file is read and the backends are looked through. Before the packages were
made (commit bc8abb7), these were 112, 92 and 94 hops; the file was read 3, 1 and 3 times, the backends looked through
4, 1 and 0 times. For another version of araflow, run this file in its checkout::

    cd OTHER && PYTHONPATH=$PWD python .../benchmarks/hops.py build --list
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import os
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ENDS = {"build": "make", "flow": "make", "train-eval": "training_step"}
"""Name of the function whose first return is the result."""
_COUNTED = {"read the file": ("spec_file.py", "read"), "looked through the backends": ("optical/__init__.py", "choose")}
_CONFIG = """
name: tiny
dataset: {{name: folder, source: {folder}/videos}}
split: {{protocol: random, test_fraction: 0.5}}
optical: {{backend: opencv, algorithm: dis}}
run: {{workers: 1}}
out: {folder}/{out}
"""
_EXPERIMENT = """
name: tiny
manifest: {folder}/made
out: {folder}/run
network:
  architecture: arn_2d
  modality: flow
  flow: {{frames: 4, width: 64, height: 64}}
data: {{sampler: consecutive, crop: none, workers: 0}}
training: {{epochs: 1, batch_size: 1, accelerator: cpu, optimizer: {{name: sgd, lr: 0.001}}}}
"""


class Hops:
    """A profile hook.

    Args:
        root: Folder that holds ``araflow`` and ``flows``.
        end: Name of the function whose first return ends the counting.

    Attributes:
        seen: Each hop with the number of its calls, in the order of the first.
        calls: How often the functions of ``_COUNTED`` were called, until the end.
    """

    def __init__(self, root: Path, end: str) -> None:
        self._root, self._end = root, end
        self._ours = (str(root / "araflow") + os.sep, str(root / "flows") + os.sep)
        self._over = False
        self.seen: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:  # noqa: ANN401 - what was returned
        """Take what Python tells of a call or return."""
        code = frame.f_code
        if self._over or event not in ("call", "return") or not code.co_filename.startswith(self._ours):
            return
        if event == "return":
            if code.co_name == self._end:
                self._over = True
                sys.setprofile(None)  # of this thread, which may have a training before it
            return
        if code.co_name.startswith("<") or not code.co_flags & inspect.CO_NEWLOCALS:  # a class body has no locals
            return
        caller, above = None, frame.f_back
        while above is not None:
            if above.f_code.co_filename.startswith(self._ours):
                if above.f_code.co_name == "<module>":
                    return
                caller = caller or above.f_code
            above = above.f_back
        for name, (file, function) in _COUNTED.items():
            self.calls[name] += code.co_filename.endswith(file) and code.co_name == function
        if caller is not None and caller.co_filename != code.co_filename:
            self.seen[self._name(caller), self._name(code)] += 1

    def _name(self, code: CodeType) -> str:
        return f"{Path(code.co_filename).relative_to(self._root)}:{code.co_qualname}"

    @contextlib.contextmanager
    def counting(self) -> Any:  # noqa: ANN401 - a context manager
        """Count in this thread and in those that are started meanwhile."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type] # typeshed's mistake


def measure(kind: str) -> Hops:
    """Run a command in this process, and count.

    Args:
        kind: ``build``, ``flow`` or ``train-eval``.
    """
    pool = _module("araflow.build.pool", "araflow.pool")
    pool.WorkerPool._run = lambda self, function, item, timeout: function(item)
    root = Path(pool.__file__).resolve().parents[pool.__name__.count(".")]
    with tempfile.TemporaryDirectory(prefix="araflow-hops-") as scratch:
        folder = Path(scratch)
        os.environ.setdefault("PREFECT_HOME", str(folder / "prefect"))
        _draw(folder / "videos", 4 if kind == "train-eval" else 1)
        configuration = folder / "tiny.yaml"
        configuration.write_text(_CONFIG.format(folder=folder, out="made"))
        command = [kind, str(configuration)]
        if kind == "flow":
            command.insert(1, "--config")
        if kind == "train-eval":
            _run(["flow", "--config", str(configuration)])
            configuration.write_text(_EXPERIMENT.format(folder=folder))
            command.insert(1, "--spec")
        hops = Hops(root, _ENDS[kind])
        with hops.counting():
            _run(command)
        return hops


def _module(*names: str) -> Any:  # noqa: ANN401 - a module
    for name in names[:-1]:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return importlib.import_module(names[-1])


def _run(command: list[str]) -> None:
    from araflow.cli import main

    with contextlib.redirect_stdout(sys.stderr):
        try:
            main.main(command, standalone_mode=False)
        except SystemExit as ended:
            if ended.code:
                raise


def _draw(folder: Path, clips: int) -> None:
    """Write videos of noise, as many in each of two classes where there is more than one."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    for number in range(clips):
        file = folder / ("walk", "run")[number % 2] / f"{number}.avi"
        file.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
        for _ in range(8):
            writer.write(random.integers(0, 255, (64, 96, 3), np.uint8))
        writer.release()


def main() -> None:
    """Print what was counted."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kind", choices=list(_ENDS))
    parser.add_argument("--list", action="store_true", help="Print each hop, with the number of its calls.")
    asked = parser.parse_args()
    hops = measure(asked.kind)
    if asked.list:
        for number, ((caller, called), calls) in enumerate(hops.seen.items(), start=1):
            print(f"{number:4} {calls:4}  {caller} -> {called}")
    print(f"{asked.kind}: {len(hops.seen)} hops; " + ", ".join(f"{what} {n} times" for what, n in hops.calls.items()))


if __name__ == "__main__":
    main()
