"""Flow as it was computed, in the further files that are asked for, beside its u and v images."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

import av

from araflow.build.recipe import Recipe
from araflow.media import flow_files, mp4
from araflow.media.colours import film_colours
from araflow.media.fields import FlowField
from araflow.media.flow_forms import FILM, SUFFIXES
from araflow.media.video import RgbFrame
from araflow.store.draft import ClipDraft
from araflow.store.layout import LOSSLESS

_FPS = 25.0
"""Of a film whose frames have no rate, as of a folder of images."""


@contextlib.contextmanager
def beside(draft: ClipDraft, recipe: Recipe, fps: float | None) -> Iterator[Callable[[str, FlowField], None]]:
    """Write the files of a clip's flow that ``optical.lossless`` and ``optical.also`` ask for.

    Args:
        draft: The clip.
        recipe: What is asked for.
        fps: Frames per second, for a film.

    Yields:
        A function that takes the next field's name, without suffix, and the field.

    Raises:
        OSError: They cannot be written.
        UnavailableError: FFmpeg was built without the encoder of films.
    """
    fields = [form for form in recipe.also if form != "film"]
    shown: Callable[[RgbFrame], None] | None = None

    def add(name: str, flow: FlowField) -> None:
        nonlocal shown
        if recipe.lossless:
            draft.write(LOSSLESS, f"{name}.png", flow_files.encode_flow_png(flow))
        for form in fields:
            draft.write(form, name + SUFFIXES[form], flow_files.encode(flow, form))
        if "film" in recipe.also:
            # One thread: by their number the bytes would differ, and the pool uses the cores.
            file = draft.folder / "film" / FILM
            shown = shown or film.enter_context(mp4.film_at(file, fps or _FPS, threads=1))
            shown(film_colours(flow))

    try:
        with contextlib.ExitStack() as film:
            yield add
    except av.FFmpegError as error:  # of the film: what decodes says so otherwise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error)) from error
    if shown is not None:
        draft.adopt("film", FILM)
