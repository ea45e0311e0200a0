"""Drawn action clips: the pictures and their motion. Nothing here is footage; every pixel comes from this code.

Five HMDB51 classes are drawn as articulated figures before textured backgrounds, so that a recogniser can tell them
apart by optical flow alone and by rgb alone. ``plan_shot`` decides what is drawn, ``render`` draws it frame by frame.
What belongs to a title ("film": background, clothes, picture quality) is seeded by the title, what belongs to a clip by
its class and number; so clips of one title look alike, and adding clips or classes changes no other clip.

A figure is a set of joints, as complex numbers in units of its stature: real = forward, imaginary = up, 0 = the ground
below the hip. Limb angles are in radians from straight down, positive forward.
"""

from __future__ import annotations

import cmath
import colorsys
import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

CLASSES = ("walk", "ride_bike", "run", "fall_floor", "push")

Image = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]
Part = tuple[complex, complex, float, float, Colour]  # a capsule: both ends, the radius at each end, RGB

SHIFT = 4  # cv2 draws with 4 fractional bits: motion in steps of 1/16 pixel
CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)
INK: Colour = (30.0, 26.0, 28.0)
SHADOW: Colour = (52.0, 48.0, 50.0)
THIGH, FOREARM, TORSO = 0.25, 0.155, 0.32  # in statures; shin = thigh, upper arm = forearm
DEGRADATION = {"goo": (0.0, 2.0), "med": (0.7, 4.0), "bad": (1.2, 7.0)}
"""Per HMDB51 quality: sigma of the blur (pixels at 240 lines), standard deviation of the noise (grey levels)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gait:
    """How a figure moves its limbs. Angles in radians, lengths in statures."""

    swing: float = 0.0
    knee: float = 0.0
    crouch: float = 0.0
    arm: float = 0.04
    elbow: float = 0.12
    lean: float = 0.0
    bounce: float = 0.0

    @property
    def stride(self) -> float:
        """Distance per cycle of two steps at which the standing foot does not slip."""
        return 2 * math.sin(self.swing)


WALK = Gait(swing=0.42, knee=0.75, crouch=0.04, arm=0.45, elbow=0.3, lean=0.04)
RUN = Gait(swing=0.75, knee=1.5, crouch=0.22, arm=0.95, elbow=1.5, lean=0.34, bounce=0.03)
SHOVE = Gait(swing=0.3, knee=0.5, crouch=0.25, arm=0.3, elbow=0.9, lean=0.4)
STAGGER = Gait(swing=0.3, knee=0.6, crouch=0.15, arm=0.5, elbow=0.6, lean=-0.28)
STAND = Gait()
SPEED = {"walk": 0.78, "run": 1.95, "ride_bike": 1.35, "fall_floor": 0.0, "push": 0.32}
"""Translation per class, in statures per second."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shot:
    """Everything that one drawn clip shows.

    Attributes:
        label: Class, one of ``CLASSES``.
        title: Source title; seeds the look.
        seed: Seed of the data set.
        number: Number of the clip within its class; seeds the noise.
        width: Frame width in pixels.
        height: Frame height in pixels.
        fps: Frames per second.
        frames: Number of frames.
        body: HMDB51's visible body part: ``f`` or ``u``.
        camera: ``cm`` (the background pans) or ``nm`` (it rests).
        people: Number of people drawn.
        view: ``le`` or ``ri`` (direction of movement), ``fr`` or ``ba``.
        quality: ``bad``, ``med`` or ``goo``; keys of ``DEGRADATION``.
        way: Direction of movement in the image: 1 right, -1 left.
        stature: Height of an upright figure in pixels.
        speed: Translation in pixels per second.
        pan: Camera speed in pixels per second, positive to the right; 0 for ``nm``.
        phase: Phase of the gait at the first frame, in radians.
        offset: Left edge of the first frame in the title's panorama, in pixels.
    """

    label: str
    title: str
    seed: int
    number: int
    width: int
    height: int
    fps: int
    frames: int
    body: str
    camera: str
    people: int
    view: str
    quality: str
    way: int
    stature: float
    speed: float
    pan: float
    phase: float
    offset: int

    @property
    def attributes(self) -> str:
        """The attributes as HMDB51 writes them, such as ``f_nm_np1_le_goo``."""
        return f"{self.body}_{self.camera}_np{self.people}_{self.view}_{self.quality}"


@dataclasses.dataclass(frozen=True, slots=True)
class Film:
    """The look that all clips of a title share.

    Attributes:
        panorama: Background, RGB uint8 (H, 5 W, 3); periodic with 4 W, so that any pan stays on it.
        outfits: Per person: skin, hair, shirt, trousers, RGB 0..255.
        accent: RGB of the thing in the scene: bicycle, box or mat.
    """

    panorama: Image
    outfits: tuple[tuple[Colour, Colour, Colour, Colour], ...]
    accent: Colour


@dataclasses.dataclass(frozen=True, slots=True)
class Skeleton:
    """Joints of a figure, in statures; pairs are (far, near)."""

    hip: complex
    neck: complex
    knees: tuple[complex, complex]
    ankles: tuple[complex, complex]
    elbows: tuple[complex, complex]
    hands: tuple[complex, complex]


@dataclasses.dataclass(frozen=True, slots=True)
class Pen:
    """Draws in a figure's own units: ``origin`` is its ground point in the image (x + y j, pixels)."""

    image: Image
    origin: complex
    size: float
    way: int = 1
    tilt: float = 0.0

    def fixed(self, points: npt.NDArray[np.complex128]) -> npt.NDArray[np.int32]:
        """Return image coordinates of points (..., N) as fixed-point int32 (..., N, 2) for cv2's ``shift``."""
        turned = points * (self.size * cmath.exp(-1j * self.tilt))
        xy = np.stack([self.origin.real + self.way * turned.real, self.origin.imag - turned.imag], axis=-1)
        return np.rint(xy * (1 << SHIFT)).astype(np.int32)

    def polygon(self, points: Sequence[complex] | npt.NDArray[np.complex128], colour: Colour) -> None:
        """Fill the convex hull of points."""
        self._fill(self.fixed(np.asarray(points, np.complex128)), colour)

    def _fill(self, points: npt.NDArray[np.int32], colour: Colour) -> None:
        cv2.fillConvexPoly(self.image, cv2.convexHull(points), colour, cv2.LINE_AA, SHIFT)

    def parts(self, parts: Sequence[Part], outline: float = 0.011) -> None:
        """Draw capsules over one another, within one dark outline around them all (its width in statures)."""
        ends = np.array([part[:2] for part in parts])[..., None]
        radii = np.array([part[2:4] for part in parts])[..., None]
        for contour in self.fixed((ends + (radii + outline) * CIRCLE).reshape(len(parts), -1)):
            self._fill(contour, INK)
        for contour, part in zip(self.fixed((ends + radii * CIRCLE).reshape(len(parts), -1)), parts, strict=True):
            self._fill(contour, part[4])

    def ring(self, centre: complex, radius: float, width: float, colour: Colour) -> None:
        """Draw a circle line, all lengths in statures."""
        x, y = self.fixed(np.array([centre]))[0]
        fixed_radius = round(radius * self.size * (1 << SHIFT))
        thickness = max(1, round(width * self.size))
        cv2.circle(self.image, (int(x), int(y)), fixed_radius, colour, thickness, cv2.LINE_AA, SHIFT)

    def lines(self, lines: Sequence[tuple[complex, complex]], width: float, colour: Colour) -> None:
        """Draw straight lines, ``width`` in statures."""
        points = self.fixed(np.array(lines, np.complex128))
        cv2.polylines(self.image, list(points), False, colour, max(1, round(width * self.size)), cv2.LINE_AA, SHIFT)


def random_of(*parts: object) -> np.random.Generator:
    """Return a generator that depends on these values only (Python's own ``hash`` differs between processes)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def plan_shot(
    label: str, title: str, number: int, *, seed: int, width: int, height: int, fps: int, seconds: tuple[float, float]
) -> Shot:
    """Decide what clip ``number`` of a class shows; ``render`` draws it.

    Args:
        label: Class, one of ``CLASSES``.
        title: Source title.
        number: Number of the clip within its class, from 0.
        seed: Seed of the data set.
        width: Frame width in pixels, at least 64.
        height: Frame height in pixels, at least 64.
        fps: Frames per second.
        seconds: Shortest and longest duration in seconds.
    """
    rng = random_of(seed, label, number)
    fewest = max(2, math.ceil(seconds[0] * fps))
    frames = int(rng.integers(fewest, max(fewest, math.floor(seconds[1] * fps)) + 1))
    way = int(rng.choice([-1, 1]))
    stature = min(height, 0.75 * width) * rng.uniform(0.55, 0.66)
    view, body, people = "le" if way < 0 else "ri", "f", 1 + int(rng.random() < 0.25)
    frontal, close, distant, panning = rng.random(4)
    if (label == "walk" and frontal < 0.2) or (label == "fall_floor" and frontal < 0.4):
        view = "fr" if rng.random() < 0.6 else "ba"
    if label == "push":
        people = int(rng.choice([1, 2]))  # pushes a box, or another person
        if people == 2 and close < 0.3:
            body, stature = "u", min(height, 0.75 * width) * 1.25
    speed = stature * SPEED[label] * rng.uniform(0.92, 1.08)
    if label == "walk" and view in ("fr", "ba"):
        speed = 0.0
    room = width * (0.65 if label != "push" else 0.3 if body == "f" else 0.1)
    if label in ("run", "ride_bike") and distant < 0.4:  # further away and shorter, so that some cameras can rest
        stature, speed, room = 0.65 * stature, 0.65 * speed, 1.1 * room
        frames = max(fewest, min(frames, int(room / speed * fps)))
    duration = frames / fps
    pan = 0.0
    if speed * duration > room or (speed and panning < 0.3):  # too far for a resting camera: it pans along
        pan = way * (speed - min(rng.uniform(0.1, 0.5) * speed, 0.6 * room / duration))
    elif not speed and panning < 0.3:
        pan = float(rng.choice([-1, 1])) * min(rng.uniform(0.08, 0.15), 0.2 / duration) * width
    return Shot(
        label=label,
        title=title,
        seed=seed,
        number=number,
        width=width,
        height=height,
        fps=fps,
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
    size = (shot.height, shot.width)
    grain = np.clip(rng.normal(0, noise, (size[0] + 32, size[1] + 32, 3)), -40, 40).astype(np.int8)
    for index in range(shot.frames):
        time = index / shot.fps
        left = (shot.offset + shot.pan * time) % (4 * shot.width)
        # getRectSubPix takes the centre; whole pixels come out unchanged.
        centre = (left + (shot.width - 1) / 2, (shot.height - 1) / 2)
        image = np.asarray(cv2.getRectSubPix(film.panorama, size[::-1], centre), np.uint8)
        SCENES[shot.label](image, shot, film, time)
        if blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * max(shot.height / 240, 0.5)), np.uint8)
        y, x = rng.integers(0, 33, 2)
        yield np.asarray(cv2.add(image, grain[y : y + size[0], x : x + size[1]], dtype=cv2.CV_8U), np.uint8)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return (255 * red, 255 * green, 255 * blue)


def _scaled(colour: Colour, factor: float) -> Colour:
    return (min(255, colour[0] * factor), min(255, colour[1] * factor), min(255, colour[2] * factor))


@functools.lru_cache(maxsize=2)
def film_of(seed: int, title: str, width: int, height: int) -> Film:
    """Return the look of a title at a frame size. Two are kept: the caller draws a title's clips in a row."""
    rng = random_of(seed, title, "look")
    hue = rng.random()
    outfits = tuple(
        (
            _colour(rng.uniform(0.05, 0.08), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.98)),
            _colour(rng.uniform(0.03, 0.12), rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.6)),
            _colour(hue + 0.3 + 0.3 * person + rng.uniform(0, 0.15), rng.uniform(0.5, 0.85), rng.uniform(0.6, 0.95)),
            _colour(rng.random(), rng.uniform(0.2, 0.5), rng.uniform(0.22, 0.4)),
        )
        for person in range(2)
    )
    accent = _colour(hue + rng.uniform(0.2, 0.8), rng.uniform(0.5, 0.9), rng.uniform(0.55, 0.85))
    half = _backdrop(rng, hue, 2 * width, height)
    panorama = np.concatenate([half, half[:, ::-1], half[:, : width + 2]], axis=1)  # mirrored: no seam
    return Film(np.ascontiguousarray(panorama), outfits, accent)


def _backdrop(rng: np.random.Generator, hue: float, width: int, height: int) -> Image:
    """Return a textured wall, front or landscape above a floor, RGB uint8 (height, width, 3)."""
    unit = height / 12
    horizon = round(0.68 * height)
    wall = _colour(hue, rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.85))
    dark, light = _scaled(wall, 0.72), _scaled(wall, 1.2)
    image = np.full((height, width, 3), wall, np.uint8)
    pen = Pen(image, complex(0, horizon), unit)
    columns = math.ceil(width / unit)
    kind = rng.integers(4)
    if kind == 0:  # bricks, each with its own shade
        for row in range(18):
            for column in range(-1, columns):
                x, y = column + 0.5 * (row % 2), row / 2
                corners = [complex(x + a, y + b) for a in (0.04, 0.96) for b in (0.04, 0.46)]
                pen.polygon(corners, _scaled(wall, rng.uniform(0.75, 1.1)))
    elif kind == 1:  # a house front
        for x in np.arange(0.5, columns, 2.2):
            for y in (1.2, 4.0, 6.8):
                for grow, colour in ((0.14, light), (0.0, _scaled(dark, rng.uniform(0.4, 0.9)))):
                    corners = [complex(x + a, y + b) for a in (-grow, 1.2 + grow) for b in (-grow, 1.6 + grow)]
                    pen.polygon(corners, colour)
    elif kind == 2:  # sky, hills and trees
        image[:] = _colour(0.57, rng.uniform(0.1, 0.35), 0.92)
        for x in rng.uniform(0, columns, columns // 3):
            tall = rng.uniform(1, 4)
            pen.polygon(complex(x, 0) + (3.5 * CIRCLE.real + 1j * tall * CIRCLE.imag), _scaled(wall, 0.9))
        leaf = _colour(rng.uniform(0.2, 0.36), 0.5, rng.uniform(0.4, 0.6))
        for x in rng.uniform(0, columns, columns // 3):
            tall = rng.uniform(2, 5)
            pen.lines([(complex(x, 0), complex(x, tall))], 0.25, (92.0, 70.0, 52.0))
            for _ in range(7):
                at = complex(x, tall) + complex(rng.normal(0, 0.6), rng.normal(0.3, 0.6))
                pen.polygon(at + rng.uniform(0.4, 0.8) * CIRCLE, _scaled(leaf, rng.uniform(0.75, 1.2)))
    else:  # a room: panels and pictures
        for x in np.arange(0, columns, 1.1):
            pen.lines([(complex(x, 0), complex(x, 9))], 0.09, dark)
        for x in np.arange(1, columns, 5.5):
            low, colour = rng.uniform(4, 5), _colour(rng.random(), 0.5, 0.7)
            pen.polygon([complex(x + a, low + b) for a in (0, 2.2) for b in (0, 1.8)], _scaled(colour, 0.4))
            pen.polygon([complex(x + a, low + b) for a in (0.2, 2.0) for b in (0.2, 1.6)], colour)
        pen.polygon([0, complex(columns, 0), complex(columns, 0.4), 0.4j], light)
    floor = _colour(hue + rng.uniform(-0.15, 0.15), rng.uniform(0.15, 0.4), rng.uniform(0.4, 0.6))
    image[horizon:] = floor
    for row in range(3):  # boards grow wider towards the viewer
        y = -(0.5, 1.4, 2.7)[row]
        pen.lines([(complex(0, y), complex(columns, y))], 0.07, _scaled(floor, 0.75))
        for x in rng.uniform(0, columns, columns // 2):
            pen.lines([(complex(x, y), complex(x + 0.1, y + (0.5, 0.9, 1.3)[row]))], 0.07, _scaled(floor, 0.75))
    texture = np.zeros((height, width), np.float32)
    for cell, strength in ((2, 6.0), (5, 6.0), (24, 9.0)):  # in pixels at 240 lines; flow needs every scale
        pixels = max(1.0, cell * height / 240)
        shape = (math.ceil(height / pixels) + 1, math.ceil(width / pixels) + 1)
        rough = rng.normal(0, strength, shape).astype(np.float32)
        texture += cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(image + texture[..., None], 0, 255), np.uint8)


def _bone(angle: float, side: int, profile: bool) -> complex:
    """Return a limb's direction: swung in profile, foreshortened and slightly splayed as seen from the front."""
    return complex(math.sin(angle) if profile else 0.16 * side, -math.cos(angle))


def _pose(phase: float, gait: Gait, *, profile: bool = True, raised: float = 0.0, reach: float = 1.5) -> Skeleton:
    """Return a figure at a phase of its gait, arms ``raised`` by 0..1 towards the angle ``reach``."""
    thighs, shins, elbows, hands = [], [], [], []
    for side in (-1, 1):
        cycle = phase + (math.pi if side < 0 else 0.0)
        hinge = 0.05 * side * (not profile)
        thigh = gait.swing * math.sin(cycle) + gait.crouch
        bend = 2 * gait.crouch + gait.knee * max(0.0, math.cos(cycle))  # the knee bends while the leg swings forward
        thighs.append(hinge + THIGH * _bone(thigh, side, profile))
        shins.append(thighs[-1] + THIGH * _bone(thigh - bend, side, profile))
        arm = (1 - raised) * -gait.arm * math.sin(cycle) + raised * (reach + 0.08 * side)
        elbows.append(FOREARM * _bone(arm, 2 * side, profile))
        hands.append(elbows[-1] + FOREARM * _bone(arm + (1 - raised) * gait.elbow, side, profile))
    hip = complex(0, -min(ankle.imag for ankle in shins) + 0.02 + gait.bounce * (1 + math.cos(2 * phase)))
    neck = hip + TORSO * cmath.exp(1j * (math.pi / 2 - gait.lean))
    shoulders = [neck - 0.035j + 0.1 * side * (not profile) for side in (-1, 1)]
    return Skeleton(
        hip,
        neck,
        (hip + thighs[0], hip + thighs[1]),
        (hip + shins[0], hip + shins[1]),
        (shoulders[0] + elbows[0], shoulders[1] + elbows[1]),
        (shoulders[0] + hands[0], shoulders[1] + hands[1]),
    )


def _joint(root: complex, tip: complex, length: float, side: int) -> complex:
    """Return the knee or elbow between two ends of a limb of two segments of ``length``."""
    span = tip - root
    return root + span / 2 + side * 1j * span / abs(span) * math.sqrt(max(length**2 - abs(span / 2) ** 2, 0.0))


def _person(
    pen: Pen, skeleton: Skeleton, outfit: tuple[Colour, Colour, Colour, Colour], view: str, *, shadow: bool = True
) -> None:
    """Draw a figure; ``view`` is ``fr``, ``ba`` or, for profile, anything else."""
    skin, hair, shirt, trousers = outfit
    profile = view not in ("fr", "ba")
    legs: list[Part] = []
    arms: list[list[Part]] = []
    for side in (0, 1):
        shade = 0.72 if profile and side == 0 else 1.0
        wide = 0.0 if profile else (2 * side - 1)
        knee, ankle, elbow, hand = (p[side] for p in (skeleton.knees, skeleton.ankles, skeleton.elbows, skeleton.hands))
        sole = 0.075j * (ankle - knee) / abs(ankle - knee) if profile else complex(0.015 * wide, -0.015)
        cloth, sleeve = _scaled(trousers, shade), _scaled(shirt, shade * (0.9 if side else 1.0))
        legs += [
            (skeleton.hip + 0.05 * wide, knee, 0.058, 0.043, cloth),
            (knee, ankle, 0.043, 0.03, cloth),
            (ankle, ankle + sole, 0.03, 0.022, _scaled((70.0, 60.0, 58.0), shade)),
        ]
        shoulder = skeleton.neck - 0.035j + 0.1 * wide
        arms.append(
            [
                (elbow, hand, 0.027, 0.023, _scaled(skin, shade)),
                (hand, hand, 0.03, 0.03, _scaled(skin, shade)),
                (shoulder, elbow, 0.038, 0.032, sleeve),
            ]
        )
    up = (skeleton.neck - skeleton.hip) / abs(skeleton.neck - skeleton.hip)
    ahead = -1j * up if profile else 0j
    head = skeleton.neck + 0.105 * up + 0.012 * ahead
    chest = skeleton.neck - 0.05 * up
    broad = 0.0 if profile else 0.045
    torso: list[Part] = [
        (skeleton.neck, head, 0.032, 0.032, _scaled(skin, 0.9)),
        (skeleton.hip - broad / 2, chest - broad, 0.066, 0.075, shirt),
        (skeleton.hip + broad / 2, chest + broad, 0.066, 0.075, shirt),
    ]
    face: list[Part] = [
        (head + 0.012 * up - 0.02 * ahead, head + 0.012 * up - 0.02 * ahead, 0.08, 0.08, hair),
        (head - 0.012 * up, head - 0.01 * up + 0.022 * ahead, 0.06, 0.06, hair if view == "ba" else skin),
    ]
    if view != "ba":
        eyes = [head + 0.055 * ahead] if profile else [head - 0.025, head + 0.025]
        face += [(eye, eye, 0.01, 0.01, INK) for eye in eyes]
    if shadow:
        flat = Pen(pen.image, pen.origin, pen.size, pen.way)
        middle = (skeleton.hip * cmath.exp(-1j * pen.tilt)).real
        reach = 0.22 + 0.25 * abs(math.sin(pen.tilt))
        flat.polygon(middle + reach * CIRCLE.real + 0.03j * CIRCLE.imag, SHADOW)
    pen.parts([*arms[0], *legs, *torso, *face, *arms[1]])


def _ground(shot: Shot) -> float:
    """Return the y of the line the figures stand on; below the frame when only upper bodies are framed."""
    return shot.height + 0.42 * shot.stature if shot.body == "u" else 0.9 * shot.height


def _track(shot: Shot, time: float) -> float:
    """Return the x of the main figure: it passes the frame's middle in the middle of the clip."""
    return shot.width / 2 + (shot.way * shot.speed - shot.pan) * (time - shot.frames / shot.fps / 2)


def _travel(image: Image, shot: Shot, film: Film, time: float) -> None:
    """Walk, run or ride: one figure or two pass by, or walk towards or away from the camera."""
    x, y = _track(shot, time), _ground(shot)
    profile = shot.view not in ("fr", "ba")
    near = 1.0
    if not profile:  # distance shows as size, about the horizon
        progress = time * shot.fps / shot.frames
        near = 0.62 ** (1 - progress if shot.view == "fr" else progress)
        y = (0.68 + 0.22 * near) * shot.height
    gait = RUN if shot.label == "run" else WALK
    gone = shot.speed * time / shot.stature if profile else SPEED["walk"] * time
    for person in reversed(range(shot.people)):  # the second one is further away, hence drawn first
        size = shot.stature * near * (1 - 0.1 * person)
        apart = (0.55 if shot.label == "ride_bike" else 0.34) * shot.way * shot.stature * near
        origin = complex(x + apart * (shot.people - 1) * (0.5 - person), y - 0.035 * person * shot.height)
        pen = Pen(image, origin, size, shot.way if profile else 1)
        if shot.label == "ride_bike":
            _rider(pen, gone + person, film, person)
        else:
            pose = _pose(shot.phase + 2 * math.pi * gone / gait.stride + 2.2 * person, gait, profile=profile)
            _person(pen, pose, film.outfits[person], shot.view)


def _rider(pen: Pen, distance: float, film: Film, person: int) -> None:
    """Draw a bicycle that has rolled ``distance`` (statures), and its rider."""
    radius = 0.185
    rear, front = complex(-0.3, radius), complex(0.32, radius)
    crank, saddle, bars, head = complex(-0.02, radius), complex(-0.1, 0.47), complex(0.25, 0.56), complex(0.22, 0.47)
    pen.polygon(0.55 * CIRCLE.real + 0.025j * CIRCLE.imag, SHADOW)
    roll = cmath.exp(-1j * distance / radius)
    pedals = [crank + sign * 0.085 * cmath.exp(-1j * distance / radius / 2.2) for sign in (-1, 1)]
    hip = saddle + 0.06j
    neck = hip + TORSO * cmath.exp(1j * 0.95)
    hands = (bars + 0.03j, bars + 0.03j)
    ankles = (pedals[0] + 0.03j, pedals[1] + 0.03j)
    elbow = _joint(neck - 0.035j, bars, FOREARM, -1)
    knees = (_joint(hip, ankles[0], THIGH, 1), _joint(hip, ankles[1], THIGH, 1))
    for hub in (rear, front):
        spokes = [(hub + radius * roll * spoke, hub - radius * roll * spoke) for spoke in CIRCLE[:8:2]]
        pen.lines(spokes, 0.008, (215.0, 215.0, 215.0))
        pen.ring(hub, radius, 0.03, (35.0, 32.0, 34.0))
    colour = _scaled(film.accent, 1 - 0.25 * person)
    tubes = [(rear, crank), (rear, saddle), (saddle, crank), (saddle, head), (head, crank), (head, front), (head, bars)]
    pen.parts([(a, b, 0.014, 0.014, colour) for a, b in tubes], outline=0.006)
    _person(pen, Skeleton(hip, neck, knees, ankles, (elbow, elbow), hands), film.outfits[person], "le", shadow=False)
    pen.parts([(pedals[0], pedals[1], 0.012, 0.012, (60.0, 60.0, 60.0))], outline=0.004)


def _fall(image: Image, shot: Shot, film: Film, time: float) -> None:
    """Topple over the feet onto a mat and lie still; a second person only looks on."""
    duration = shot.frames / shot.fps
    begin, lasts = 0.2 * duration, min(0.7, 0.4 * duration)
    fallen = min(1.0, max(0.0, (time - begin) / lasts))
    rebound = max(0.0, time - begin - lasts)
    tilt = 1.54 * fallen**2 - 0.35 * math.sin(min(rebound * 14, math.pi)) * math.exp(-3 * rebound) * (fallen == 1.0)
    y = _ground(shot)
    feet = complex(_track(shot, time) - shot.way * 0.45 * shot.stature, y)
    mat = [complex(a, b) for a, b in ((-0.1, -0.07), (1.25, -0.07), (1.15, 0.08), (0.0, 0.08))]
    flat = Pen(image, feet, shot.stature, shot.way)
    flat.polygon([corner - 0.035j for corner in mat], _scaled(film.accent, 0.55))
    flat.polygon(mat, film.accent)
    if shot.people == 2:
        place = feet + complex(shot.way * 1.05 * shot.stature, -0.06 * shot.height)
        _person(Pen(image, place, 0.9 * shot.stature, -shot.way), _pose(0, STAND), film.outfits[1], "le")
    profile = shot.view not in ("fr", "ba")
    stagger = Gait(swing=0.12 * (1 - fallen), crouch=0.12 * math.sin(math.pi * fallen), elbow=0.4)
    pose = _pose(
        shot.phase + 9 * min(time, begin), stagger, profile=profile, raised=0.9 * fallen, reach=1.6 + 1.4 * fallen
    )
    pen = Pen(image, feet - 0.07j * math.sin(tilt) * shot.stature, shot.stature, shot.way, tilt)
    _person(pen, pose, film.outfits[0], shot.view)


def _push(image: Image, shot: Shot, film: Film, time: float) -> None:
    """Push a box that slides ahead, or shove another person who staggers back, again and again."""
    gone = shot.speed * time / shot.stature
    x, size, way = _track(shot, time) - shot.way * 0.4 * shot.stature, shot.stature, shot.way
    if shot.people == 1:
        pen = Pen(image, complex(x, _ground(shot)), size, way)
        _box(pen, 0.48, film.accent)
        _person(pen, _pose(shot.phase + 2 * math.pi * gone / SHOVE.stride, SHOVE, raised=1.0), film.outfits[0], "le")
        return
    step = 0.25  # statures per shove; the first 0.4 of its time the one comes closer, then the other gives way
    start = shot.phase / (2 * math.pi)
    shoves, now = divmod(gone / step + start, 1)
    advance, retreat = min(1.0, now / 0.4), max(0.0, now - 0.4) / 0.6
    ease = 1 - (1 - retreat) ** 3
    x -= way * gone * size  # _track is their mean motion; each of them moves in steps
    ahead = x + way * size * (0.74 + step * (shoves + ease - start))
    stagger = dataclasses.replace(STAGGER, lean=-0.4 * math.sin(math.pi * ease))
    pose = _pose(math.pi * (shoves + ease), stagger, raised=0.35 * math.sin(math.pi * ease))
    _person(Pen(image, complex(ahead, _ground(shot)), size, -way), pose, film.outfits[1], "le")
    behind = x + way * size * step * (shoves + advance - start)
    shove = dataclasses.replace(SHOVE, lean=0.1 + 0.3 * advance * (1 - retreat))
    pose = _pose(math.pi * (shoves + advance), shove, raised=advance * (1 - retreat))
    _person(Pen(image, complex(behind, _ground(shot)), size, way), pose, film.outfits[0], "le")


def _box(pen: Pen, left: float, colour: Colour) -> None:
    """Draw a crate whose near edge is at ``left`` statures ahead."""
    wide, tall = 0.5, 0.84
    corners = [complex(left + a * wide, b * tall) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    pen.polygon([*(corner - 0.03j for corner in corners[:2]), *corners[:2]], SHADOW)
    pen.polygon(corners, colour)
    heights = [tall * part / 6 for part in range(1, 6)]
    pen.lines([(complex(left, high), complex(left + wide, high)) for high in heights], 0.012, _scaled(colour, 0.6))
    edges = [*zip(corners, [*corners[1:], corners[0]], strict=True), (corners[0], corners[2])]
    pen.lines(edges, 0.035, _scaled(colour, 0.75))


SCENES = {"walk": _travel, "run": _travel, "ride_bike": _travel, "fall_floor": _fall, "push": _push}
