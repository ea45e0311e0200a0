"""What a manifest of Kinetics-700's size costs the commands that read one: CPU seconds and memory at their peak.

The manifest is generated: 650,000 clips of 700 classes, each cut from a video of its own or from one of a few that gave
several, split into train, val and test, two in a hundred quarantined. Beside it lies what a build leaves, its note and
the records of the clips that were not made, but no clip: the cost of opening 650,000 proofs is the disk's, and is not
measured here. So ``status`` finds each clip of the finished ones gone, and ``validate --quick`` says so of each.

Every command runs in a process of its own, whose CPU time and resident memory the kernel counts.

Examples:
    python -m benchmarks.manifest_scale
    python -m benchmarks.manifest_scale --clips 65000 --max-radius --json
    python -m benchmarks.manifest_scale --keep /dev/shm/large --only "manifest show"
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from araflow.build import note as build_note
from araflow.core import spec_file
from araflow.core.clip import ClipRecord, Outcome
from araflow.store.address import open_store
from araflow.store.manifest import SCHEMA, Manifest

CLIPS, CLASSES, FLOWS, QUARANTINED = 650_000, 700, 299, 0.02
FINGERPRINT = "0123456789abcdef"


def generate(folder: Path, clips: int, *, max_radius: bool = False, seed: int = 0) -> None:
    """Write a manifest, and the note and records of the build that it would be of.

    Args:
        folder: The output; made anew.
        clips: Number of rows.
        max_radius: Flow stored by NVIDIA's recipe, so that each row holds a radius per field.
        seed: Of what differs from clip to clip.
    """
    random = np.random.default_rng(seed)
    class_of = np.sort(random.integers(0, CLASSES, clips))
    names = [f"doing the {number:03d}th thing" for number in range(CLASSES)]
    labels = [names[number] for number in class_of.tolist()]
    films = [f"{value:011x}" for value in random.integers(0, clips * 9 // 10, clips).tolist()]
    parts = zip(labels, films, range(clips), strict=True)
    keys = [f"{label}/{film}_{number:06d}_{number + 10:06d}" for label, film, number in parts]
    order = sorted(range(clips), key=keys.__getitem__)
    keys, labels, films = ([column[place] for place in order] for column in (keys, labels, films))
    class_of = class_of[order]
    lost = random.random(clips) < QUARANTINED

    def made(values: str | Sequence[Any] | NDArray[Any] | pa.Array, kind: pa.DataType | None) -> pa.Array:
        """Null where the clip was not made."""
        array = pa.array([values] * clips if isinstance(values, str) else values, kind)
        return pc.if_else(pa.array(lost), pa.scalar(None, array.type), array)

    split = random.choice(["train", "val", "test"], clips, p=[0.83, 0.05, 0.12]).tolist()
    digest = random.bytes(32 * clips).hex()
    columns: dict[str, Any] = {
        "key": keys,
        "dataset": ["kinetics700_2020"] * clips,
        "label": labels,
        "label_index": class_of,
        "split": split,
        "subset": split,
        "group": films,
        "source": [f"{side}/{key}.mp4" for side, key in zip(split, keys, strict=True)],
        "source_bytes": made(random.integers(10**5, 10**7, clips), pa.int64()),
        "source_sha256": made([digest[64 * row : 64 * row + 64] for row in range(clips)], pa.string()),
        "status": ["missing" if gone else "ok" for gone in lost],
        "width": made(np.full(clips, 340), pa.int32()),
        "height": made(np.full(clips, 256), pa.int32()),
        "fps": made(np.full(clips, 29.97), pa.float64()),
        "header_frames": made(np.full(clips, FLOWS + 1), pa.int64()),
        "frames": made(np.full(clips, FLOWS + 1), pa.int32()),
        "flows": made(np.full(clips, FLOWS), pa.int32()),
        "rgb_bytes": made(random.integers(10**7, 10**8, clips), pa.int64()),
        "flow_bytes": made(random.integers(10**6, 10**7, clips), pa.int64()),
        "backend": made("opencv", pa.string()),
        "algorithm": made("dis", pa.string()),
        "preset": made("balanced", pa.string()),
        "quantizer": made("max_radius" if max_radius else "bound", pa.string()),
        "saturated": made(np.zeros(clips), pa.float64()),
        "outcome": ["quarantined" if gone else "done" for gone in lost],
        "reason": ["missing: listed but not in the source" if gone else "complete" for gone in lost],
        "fingerprint": [FINGERPRINT] * clips,
        "software": made("araflow 0.1.0; opencv 4.12.0; numpy 2.3.0; av 15.0.0", pa.string()),
        "path": made([f"clips/{key}" for key in keys], pa.string()),
    }
    if max_radius:
        radii = pa.array(random.random(FLOWS * clips, np.float32) * 20)
        columns["radii"] = made(pa.FixedSizeListArray.from_arrays(radii, FLOWS).cast(SCHEMA.field("radii").type), None)
    else:
        columns["bound"] = made(np.full(clips, 20.0), pa.float64())
    arrays = [
        pa.array(columns[name], field.type) if name in columns else pa.nulls(clips, field.type)
        for name, field in zip(SCHEMA.names, SCHEMA, strict=True)
    ]
    spec = spec_file.load("kinetics700_2020", [f"out={folder}", "dataset.classes=null", "dataset.folder=/nowhere"])
    metadata = {"name": "kinetics700_2020", "labels": names, "software": "generated", "dataset": None}
    folder.mkdir(parents=True)
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    Manifest(table, {**metadata, "spec": spec.output_settings()}, folder).write(folder / "manifest.parquet")
    _leave_state(folder, spec.model_dump(mode="json"), table)


def _leave_state(folder: Path, spec: dict[str, Any], table: pa.Table) -> None:
    """Write the note of a build, and a record of each clip that was not made."""
    store = open_store(folder)
    keys, labels = table.column("key").to_pylist(), table.column("label").to_pylist()
    note = {
        "spec": spec,
        "source": None,
        "accept_licence": True,
        "plain": True,
        "begun": datetime.datetime.now(datetime.UTC).isoformat(),
        "fingerprint": FINGERPRINT,
        "listed": len(keys),
        "by_class": dict(Counter(labels)),
        "sources": None,
        "keys": keys,
        "labels": labels,
    }
    store.state.mkdir()
    (store.state / build_note.NAME).write_text(json.dumps(note, indent=1))
    with store.locked() as held:
        for row in table.filter(pc.field("outcome") == Outcome.QUARANTINED).select(["key", "reason"]).to_pylist():
            held.write_record(ClipRecord(row["key"], Outcome.QUARANTINED, row["reason"], fingerprint=FINGERPRINT))


EXPERIMENT = """
name: scale
manifest: {folder}
out: {folder}/run
network: {{architecture: arn_2d, modality: joint}}
"""


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is measured, by name."""
    out, experiment = str(folder), str(folder / "experiment.yaml")
    return {
        "manifest show": ["manifest", "show", out],
        "manifest show --json": ["manifest", "show", out, "--json"],
        "manifest diff": ["manifest", "diff", out, out],
        "manifest validate --quick": ["manifest", "validate", "--quick", out],
        "status": ["status", out],
        "retry --dry-run": ["retry", out, "--dry-run"],
        "train-eval --dry-run": ["train-eval", "--dry-run", "--spec", experiment],
        "train-eval --dry-run, split anew": ["train-eval", "--dry-run", "--spec", experiment, "split.protocol=random"],
    }


def measure(arguments: list[str]) -> dict[str, float | int]:
    """Run ``araflow`` with these arguments; return its exit status, CPU seconds and peak memory in MB."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "araflow", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "exit": process.returncode,
        "cpu": round(usage.ru_utime + usage.ru_stime, 1),
        "wall": round(time.monotonic() - start, 1),
        "peak": usage.ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--max-radius", action="store_true", help="Store flow by NVIDIA's recipe: 299 radii a clip.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="Generate here, once, and leave it there.")
    parser.add_argument("--only", action="append", metavar="COMMAND", help="Measure only this; may be repeated.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "out"
        if not folder.is_dir():
            # Apart, since the kernel counts the memory of a process that starts others as theirs.
            apart = multiprocessing.get_context("spawn").Process(
                target=generate, args=(folder, options.clips), kwargs={"max_radius": options.max_radius}
            )
            apart.start()
            apart.join()
            (folder / "experiment.yaml").write_text(EXPERIMENT.format(folder=folder))
        found = {}
        for name, arguments in commands(folder).items():
            if options.only and name not in options.only:
                continue
            found[name] = one = measure(arguments)
            if not options.json:
                print(f"{name:34} {one['cpu']:7.1f} CPU s {one['peak']:7,} MB  exit {one['exit']}", flush=True)
        if options.json:
            print(json.dumps({"clips": options.clips, "max_radius": options.max_radius, "commands": found}, indent=2))


if __name__ == "__main__":
    main()
