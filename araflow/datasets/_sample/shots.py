"""Shots: what one clip shows, decided by ``plan_shot`` and drawn frame by frame by ``render``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import cv2
import numpy as np

from araflow.datasets._sample import figures
from araflow.datasets._sample.figures import RUN, SHOVE, STAGGER, STAND, WALK, Gait, pose
from araflow.datasets._sample.look import HORIZON, Film, film_of, random_of
from araflow.datasets._sample.pen import Image, Pen, shade

FPS = 30
# Per class: statures per second.
SPEED = {"walk": 0.78, "ride_bike": 1.35, "run": 1.95, "fall_floor": 0.0, "push": 0.32}
# Per quality: sigma of the blur (pixels at 240 lines), standard deviation of the noise (grey levels).
DEGRADATION = {"goo": (0.0, 2.0), "med": (0.7, 4.0), "bad": (1.2, 7.0)}


@dataclasses.dataclass(frozen=True, slots=True)
class Shot:
    """Everything that one drawn clip shows."""

    label: str
    title: str  # seeds the look
    number: int  # of the clip within its class; with the label it seeds what happens
    seed: int  # of the dataset
    width: int  # pixels, as is the height
    height: int
    frames: int
    body: str  # what is in the frame: f (all) or u (upper body)
    camera: str  # nm (it rests) or cm (it pans)
    people: int
    view: str  # le or ri (they move to the left or right), fr or ba (seen from the front or from behind)
    quality: str  # bad, med or goo
    way: int  # 1 if they move to the right, -1 to the left
    stature: float  # height of an upright figure in pixels
    speed: float  # of the figures in pixels per second
    pan: float  # speed of the camera in pixels per second, positive to the right
    phase: float  # of the gait in the first frame, in radians
    offset: int  # left edge of the first frame in the title's panorama, in pixels

    @property
    def attributes(self) -> str:
        """The attributes as HMDB51 writes them, such as ``f_nm_np1_le_goo``."""
        return f"{self.body}_{self.camera}_np{self.people}_{self.view}_{self.quality}"

    @property
    def profile(self) -> bool:
        """Whether the figures are seen from the side."""
        return self.view in ("le", "ri")

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.frames / FPS

    @property
    def ground(self) -> float:
        """Line on which the figures stand, in pixels from the top; out of the frame for upper bodies."""
        return self.height + 0.42 * self.stature if self.body == "u" else 0.9 * self.height

    def middle(self, time: float) -> float:
        """Return the x of the action in pixels: it is amid the frame in the middle of the clip."""
        return self.width / 2 + (self.way * self.speed - self.pan) * (time - self.duration / 2)


def plan_shot(
    label: str, title: str, number: int, *, seed: int, width: int, height: int, seconds: tuple[float, float]
) -> Shot:
    """Decide what a clip shows, within the shortest and longest duration in ``seconds``; the rest is as in ``Shot``."""
    rng = random_of(seed, label, number)
    fewest = max(2, math.ceil(seconds[0] * FPS))
    frames = int(rng.integers(fewest, max(fewest, math.floor(seconds[1] * FPS)) + 1))
    way = int(rng.choice([-1, 1]))
    stature = min(height, 0.75 * width) * rng.uniform(0.55, 0.66)
    view, body, people = "le" if way < 0 else "ri", "f", 1 + int(rng.random() < 0.25)
    frontal, close, distant, panning = rng.random(4)
    if frontal < {"walk": 0.85, "fall_floor": 0.4}.get(label, 0):
        view = "fr" if rng.random() < 0.6 else "ba"
    if label == "push":
        people = int(rng.choice([1, 2]))  # pushes a crate, or another person
        if people == 2 and close < 0.3:
            body, stature = "u", min(height, 0.75 * width) * 1.25
    speed = stature * SPEED[label] * rng.uniform(0.92, 1.08)
    if label == "walk" and view in ("fr", "ba"):
        speed = 0.0  # across the image
    room = width * (0.65 if label != "push" else 0.3 if body == "f" else 0.1)  # to move in before a resting camera
    if label in ("run", "ride_bike") and distant < 0.4:  # further away and shorter, so that some cameras can rest
        stature, speed, room = 0.65 * stature, 0.65 * speed, 1.1 * room
        frames = max(fewest, min(frames, int(room / speed * FPS)))
    duration, pan = frames / FPS, 0.0
    if speed * duration > room or (speed and panning < 0.3):  # the camera pans along
        pan = way * (speed - min(rng.uniform(0.1, 0.5) * speed, 0.6 * room / duration))
    elif not speed and panning < 0.3:
        pan = float(rng.choice([-1, 1])) * min(rng.uniform(0.08, 0.15), 0.2 / duration) * width
    return Shot(
        label=label,
        title=title,
        number=number,
        seed=seed,
        width=width,
        height=height,
        frames=frames,
        body=body,
        camera="cm" if pan else "nm",
        people=people,
        view=view,
        quality=str(random_of(seed, title, "quality").choice(["bad", "med", "goo"], p=[0.2, 0.4, 0.4])),
        way=way,
        stature=stature,
        speed=speed,
        pan=pan,
        phase=rng.uniform(0, 2 * math.pi),
        offset=int(rng.integers(4 * width)),
    )


def render(shot: Shot) -> Iterator[Image]:
    """Draw a clip, one frame at a time.

    Yields:
        RGB uint8 (H, W, 3), contiguous; each one its own array.
    """
    film = film_of(shot.seed, shot.title, shot.width, shot.height)
    rng = random_of(shot.seed, shot.label, shot.number, "noise")
    blur, noise = DEGRADATION[shot.quality]
    height, width = shot.height, shot.width
    grain = np.clip(rng.normal(0, noise, (height + 32, width + 32, 3)), -40, 40).astype(np.int8)
    for index in range(shot.frames):
        time = index / FPS
        left = (shot.offset + shot.pan * time) % (4 * width)
        centre = (left + (width - 1) / 2, (height - 1) / 2)
        image = np.asarray(cv2.getRectSubPix(film.panorama, (width, height), centre), np.uint8)
        SCENES[shot.label](image, shot, film, time)
        if blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * max(height / 240, 0.5)), np.uint8)
        y, x = rng.integers(0, 33, 2)  # one field of noise, shifted from frame to frame
        yield np.asarray(cv2.add(image, grain[y : y + height, x : x + width], dtype=cv2.CV_8U), np.uint8)


def _travel(image: Image, shot: Shot, film: Film, time: float) -> None:
    """Walk, run or ride: one figure or two pass by, or walk towards or away from the camera."""
    x, y, near, gone = shot.middle(time), shot.ground, 1.0, shot.speed * time / shot.stature
    if not shot.profile:  # distance shows as size, about the horizon
        progress = time / shot.duration
        near = 0.62 ** (1 - progress if shot.view == "fr" else progress)
        y, gone = (HORIZON + (0.9 - HORIZON) * near) * shot.height, SPEED["walk"] * time
    gait = RUN if shot.label == "run" else WALK
    apart = (0.55 if shot.label == "ride_bike" else 0.34) * shot.way * shot.stature * near * (shot.people - 1)
    for person in reversed(range(shot.people)):  # the second one is further away, hence drawn first
        origin = complex(x + apart * (0.5 - person), y - 0.035 * person * shot.height)
        size = shot.stature * near * (1 - 0.1 * person)
        pen = Pen(image, origin, size, shot.way if shot.profile else 1)
        if shot.label == "ride_bike":
            colour = shade(film.accent, 1 - 0.25 * person)
            figures.draw_cyclist(pen, gone + person, film.outfits[person], colour)
        else:
            phase = shot.phase + 2 * math.pi * gone / gait.stride + 2.2 * person
            figures.draw_person(pen, pose(phase, gait, profile=shot.profile), film.outfits[person], shot.view)


def _fall(image: Image, shot: Shot, film: Film, time: float) -> None:
    """Topple over the feet onto a mat and lie still; a second person only looks on."""
    begin, lasts = 0.2 * shot.duration, min(0.7, 0.4 * shot.duration)
    fallen = min(1.0, max(0.0, (time - begin) / lasts))
    tilt = 1.54 * fallen**2
    feet = complex(shot.middle(time) - shot.way * 0.45 * shot.stature, shot.ground)
    mat = np.array([-0.1 - 0.07j, 1.25 - 0.07j, 1.15 + 0.08j, 0.08j])
    pen = Pen(image, feet, shot.stature, shot.way)
    pen.polygon(mat - 0.035j, shade(film.accent, 0.55))
    pen.polygon(mat, film.accent)
    if shot.people == 2:
        place = feet + complex(shot.way * 1.05 * shot.stature, -0.06 * shot.height)
        figures.draw_person(Pen(image, place, 0.9 * shot.stature, -shot.way), pose(0, STAND), film.outfits[1])
    gait = Gait(swing=0.12 * (1 - fallen), crouch=0.12 * math.sin(math.pi * fallen), elbow=0.4)
    phase = shot.phase + 9 * min(time, begin)
    body = pose(phase, gait, profile=shot.profile, raised=0.9 * fallen, reach=1.6 + 1.4 * fallen)
    pen = dataclasses.replace(pen, origin=feet - 0.07j * math.sin(tilt) * shot.stature, tilt=tilt)
    figures.draw_person(pen, body, film.outfits[0], shot.view)


def _push(image: Image, shot: Shot, film: Film, time: float) -> None:
    """Push a crate that slides ahead, or another person who staggers back."""
    gone = shot.speed * time / shot.stature
    pen = Pen(image, complex(shot.middle(time) - shot.way * 0.4 * shot.stature, shot.ground), shot.stature, shot.way)
    phase = shot.phase + 2 * math.pi * gone / SHOVE.stride
    if shot.people == 1:
        figures.draw_crate(pen, 0.48, film.accent)
    else:
        facing = dataclasses.replace(pen, origin=pen.origin + shot.way * 0.56 * shot.stature, way=-shot.way)
        figures.draw_person(facing, pose(2 - phase, STAGGER, raised=0.3), film.outfits[1])
    figures.draw_person(pen, pose(phase, SHOVE, raised=1.0), film.outfits[0])


SCENES = {"walk": _travel, "run": _travel, "ride_bike": _travel, "fall_floor": _fall, "push": _push}
