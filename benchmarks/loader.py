"""Loading windows for training: araflow's loader beside the same through ``cv2.imread`` and through Pillow.

Frames of drawn clips are written as a build writes them, and once more by ``cv2.imwrite``, which is what a script of
one's own would have left. Then every contender loads the same windows in turns, on one thread, by CPU time:

- ``reading``: 32 PNG files to 32 arrays R, G, B.
- ``item``: to the network's tensor, float32 (3, 32, 224, 224): crop, resize, mirror, normalise. The others do it the
  way that is usual for them: resize the short side to 256, cut 224 out, turn, stack, convert, transpose.

Every frame that is read must be the decoded one, and the items must look alike.

Examples:
    python -m benchmarks.loader --output /dev/shm
    python -m benchmarks.loader --windows 8 --rounds 3 --json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from araflow.datasets._sample import draw_sample
from araflow.media import png, video
from araflow.recognition.data.clips import VideoClip
from araflow.recognition.data.frames import load_window, read_frames
from araflow.recognition.data.samplers import training_window
from araflow.recognition.data.transforms import View, training_view
from araflow.recognition.data.windows import TrainingWindows
from araflow.recognition.spec import DataSpec, ModelSpec

LENGTH, SIDE, SHORT_SIDE, MEAN, STD = 32, 224, 256, 0.5, 0.5
SEED = 0
Pictures = list[NDArray[Any]]


def write(videos: list[Path], folder: Path, windows: int) -> tuple[list[VideoClip], list[VideoClip]]:
    """Write the frames of ``windows`` clips, by araflow and by ``cv2.imwrite``; return both sets of clips."""
    ours: list[VideoClip] = []
    theirs: list[VideoClip] = []
    for number, source in enumerate(islice(videos, windows)):
        clips = [VideoClip(str(number), 0, folder / kind / str(number), 0, 0, None, None, None, {}) for kind in "oc"]
        for clip in clips:
            (clip.folder / "rgb").mkdir(parents=True)
        frames = list(islice(video.read(source)[1], LENGTH + 8))
        encoder = png.PngEncoder(*frames[0].shape[:2])
        for index, rgb in enumerate(frames):
            name = f"rgb/{index:04d}.png"
            (clips[0].folder / name).write_bytes(encoder.encode(rgb))
            cv2.imwrite(str(clips[1].folder / name), rgb[..., ::-1])
        for clip, found in zip(clips, (ours, theirs), strict=True):
            full = VideoClip(clip.key, 0, clip.folder, len(frames), len(frames) - 1, None, None, None, {})
            if not np.array_equal(load_window(full, "rgb", range(len(frames))), frames):
                raise SystemExit(f"{source}: frames do not come back from {clip.folder}")
            found.append(full)
    return ours, theirs


def by_opencv(files: list[str]) -> Pictures:
    return [cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2RGB) for file in files]  # type: ignore[arg-type]


def item_by_opencv(files: list[str], view: View) -> torch.Tensor:
    """Resize the whole frame, then cut."""
    return _tensor([_cut(cv2.resize(frame, _whole(frame.shape[:2])), view) for frame in by_opencv(files)])  # type: ignore[arg-type]


def by_pillow(files: list[str]) -> Pictures:
    from PIL import Image

    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def item_by_pillow(files: list[str], view: View) -> torch.Tensor:
    """Resize the whole frame, then cut, as torchvision's transforms do with Pillow's images."""
    from PIL import Image

    found = []
    for file in files:
        image = Image.open(file).convert("RGB")
        whole = image.resize(_whole((image.height, image.width)), Image.Resampling.BILINEAR)
        found.append(_cut(np.asarray(whole), view))
    return _tensor(found)


def _whole(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = size
    return SHORT_SIDE * width // height, SHORT_SIDE


def _cut(frame: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    left, top = round(view.left * frame.shape[1]), round(view.top * frame.shape[0])
    part = frame[top : top + SIDE, left : left + SIDE]
    return part[:, ::-1] if view.mirrored else part


def _tensor(frames: Pictures) -> torch.Tensor:
    clip = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)
    return clip.float().div_(255).sub_(MEAN).div_(STD).contiguous()


def measure(videos: list[Path], folder: Path, windows: int, rounds: int) -> dict[str, Any]:
    """Write frames into ``folder`` and time loading them.

    Returns:
        ``windows``; per contender its median CPU milliseconds and wall frames per second, ``reading`` and ``item``, and
        ``ratios`` of its CPU time to araflow's.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    ours, theirs = write(videos, folder, windows)
    data = DataSpec.model_validate({})
    model = ModelSpec.model_validate({"labels": ("a", "b"), "network": {"rgb": {"mean": (MEAN,), "std": (STD,)}}})
    items = TrainingWindows(ours, model, data, seed=SEED)
    indices, views = [], []
    for number, clip in enumerate(ours):
        rng = np.random.default_rng((SEED, 0, number))
        indices.append(training_window(clip.frames, LENGTH, data, rng))
        size = load_window(clip, "rgb", [0]).shape[1:3]
        views.append(training_view(data, model.stream("rgb"), (size[0], size[1]), rng))

    def files(clips: list[VideoClip]) -> list[list[str]]:
        return [[f"{c.folder}/rgb/{k:04d}.png" for k in own] for c, own in zip(clips, indices, strict=True)]

    own, cv2_files = files(ours), files(theirs)
    count = range(len(ours))
    contenders: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
        "araflow": (lambda k: list(read_frames(ours[k], "rgb", indices[k])), lambda k: items[0, k]["rgb"]),
        "cv2, araflow's files": (lambda k: by_opencv(own[k]), lambda k: item_by_opencv(own[k], views[k])),
        "cv2, cv2's files": (lambda k: by_opencv(cv2_files[k]), lambda k: item_by_opencv(cv2_files[k], views[k])),
    }
    if importlib.util.find_spec("PIL"):
        contenders |= {
            "Pillow, araflow's files": (lambda k: by_pillow(own[k]), lambda k: item_by_pillow(own[k], views[k])),
            "Pillow, cv2's files": (
                lambda k: by_pillow(cv2_files[k]),
                lambda k: item_by_pillow(cv2_files[k], views[k]),
            ),
        }
    for name, (_, item) in contenders.items():
        worst = max(float((item(k) - items[0, k]["rgb"]).abs().mean()) for k in count)
        if worst > 0.1:
            raise SystemExit(f"{name}: its items are not araflow's (mean difference {worst:.3f})")
    spent: dict[tuple[str, int], list[tuple[float, float]]] = {(n, part): [] for n in contenders for part in (0, 1)}
    for _ in range(rounds):
        for name, parts in contenders.items():
            for part, load in enumerate(parts):
                cpu, wall = process_time(), perf_counter()
                for k in count:
                    load(k)
                spent[name, part].append((process_time() - cpu, perf_counter() - wall))
    frames = len(ours) * LENGTH
    result: dict[str, Any] = {"windows": len(ours), "pillow": "Pillow, cv2's files" in contenders, "contenders": {}}
    for name in contenders:
        result["contenders"][name] = {}
        for part, title in enumerate(("reading", "item")):
            cpu, base = (median(c for c, _ in spent[n, part]) for n in (name, "araflow"))
            wall = median(w for _, w in spent[name, part])
            result["contenders"][name][title] = {
                "cpu_ms_per_frame": cpu * 1000 / frames,
                "frames_per_second": frames / wall,
                "ratio": cpu / base,
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("Examples:")[0],
        epilog="Examples:" + __doc__.partition("Examples:")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--videos", type=Path, help="folder of videos of 32 frames or more (default: drawn clips)")
    parser.add_argument("--output", type=Path, help="folder for the frames, removed again (default: a temporary one)")
    parser.add_argument("--windows", type=int, default=10, help="clips, of each of which one window is loaded")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.output) as name:
        folder = Path(name)
        if arguments.videos is None:
            draw_sample(folder / "drawn", clips_per_class=-(-arguments.windows // 5), seconds=(1.5, 1.5))
        videos = sorted(p for p in (arguments.videos or folder / "drawn" / "videos").rglob("*") if p.is_file())
        result = measure(videos, folder, arguments.windows, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'':24}     reading                             whole item")
    for name, parts in result["contenders"].items():
        cells = (
            f"{part['cpu_ms_per_frame']:6.3f} ms {part['frames_per_second']:6.0f} frames/s {part['ratio']:5.2f}x"
            for part in parts.values()
        )
        print(f"{name:24} {'     '.join(cells)}")
    if not result["pillow"]:
        print("Pillow is not installed here: pip install pillow")
    print(
        f"{result['windows']} windows of {LENGTH} frames, {SIDE}x{SIDE}; CPU time per frame, wall frames per second, "
        f"CPU time over araflow's; medians of {arguments.rounds} rounds in turns, one thread"
    )


if __name__ == "__main__":
    main()
