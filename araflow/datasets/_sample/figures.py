"""The things that move: a person in any pose, a cyclist and a crate.

All lengths are in statures, all angles in radians. A limb's angle is measured from straight down, positive forward.
"Profile" is a figure seen from the side, facing forward; otherwise it is seen from the front or from behind.
"""

from __future__ import annotations

import cmath
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from araflow.datasets._sample.look import Outfit
from araflow.datasets._sample.pen import CIRCLE, INK, Capsule, Colour, Pen, shade

THIGH, FOREARM, TORSO = 0.25, 0.155, 0.32  # a shin is as long as a thigh, an upper arm as long as a forearm
TYRE = np.exp(2j * np.pi * np.arange(33) / 32)  # a closed circle
SHADOW: Colour = (52.0, 48.0, 50.0)

Limb = tuple[complex, complex]  # knee and ankle, or elbow and hand


@dataclasses.dataclass(frozen=True, slots=True)
class Gait:
    """How a figure moves its limbs."""

    swing: float = 0.0  # how far the thighs swing to each side
    knee: float = 0.0  # how far the knee bends while the leg swings forward
    crouch: float = 0.0  # how far the legs are bent all the time
    arm: float = 0.04  # how far the arms swing to each side
    elbow: float = 0.12
    lean: float = 0.0  # of the torso, forward
    bounce: float = 0.0  # a length: half of the rise and fall of the hip

    @property
    def stride(self) -> float:
        """Distance in statures per cycle of two steps at which the standing foot does not slip."""
        return 2 * math.sin(self.swing)


STAND = Gait()
WALK = Gait(swing=0.42, knee=0.75, crouch=0.04, arm=0.45, elbow=0.3, lean=0.04)
RUN = Gait(swing=0.75, knee=1.5, crouch=0.22, arm=0.95, elbow=1.5, lean=0.34, bounce=0.03)
SHOVE = Gait(swing=0.3, knee=0.5, crouch=0.25, arm=0.3, elbow=0.9, lean=0.4)
STAGGER = Gait(swing=0.3, knee=0.6, crouch=0.15, arm=0.5, elbow=0.6, lean=-0.2)


@dataclasses.dataclass(frozen=True, slots=True)
class Skeleton:
    """Joints of a figure in statures; limbs are (far, near) or, seen from the front, (left, right) in the image."""

    hip: complex
    neck: complex
    legs: Sequence[Limb]
    arms: Sequence[Limb]


def pose(phase: float, gait: Gait, *, profile: bool = True, raised: float = 0.0, reach: float = 1.5) -> Skeleton:
    """Return a figure at a phase of its gait (radians), its arms ``raised`` by 0..1 towards the angle ``reach``."""

    def limb(root: complex, length: float, upper: float, lower: float, splay: float) -> Limb:
        def bone(angle: float) -> complex:  # swings in profile; from the front it is foreshortened and a little splayed
            return length * complex(math.sin(angle) if profile else splay, -math.cos(angle))

        return root + bone(upper), root + bone(upper) + bone(lower)

    legs, arms = [], []
    for side, cycle in ((-1, phase + math.pi), (1, phase)):
        swing, forward = math.sin(cycle), max(0.0, math.cos(cycle))
        thigh = gait.swing * swing + gait.crouch
        shin = thigh - 2 * gait.crouch - gait.knee * forward
        legs.append(limb(0j if profile else complex(0.05 * side), THIGH, thigh, shin, 0.16 * side))
        arm = (1 - raised) * -gait.arm * swing + raised * (reach + 0.08 * side)
        shoulder = -0.035j if profile else complex(0.1 * side, -0.035)
        arms.append(limb(shoulder, FOREARM, arm, arm + (1 - raised) * gait.elbow, 0.32 * side))
    height = 0.02 - min(ankle.imag for _, ankle in legs)  # the lower foot stands on the ground
    hip = complex(0, height + gait.bounce * (1 + math.cos(2 * phase)))
    neck = hip + TORSO * cmath.exp(1j * (math.pi / 2 - gait.lean))
    return Skeleton(
        hip,
        neck,
        legs=[(hip + knee, hip + ankle) for knee, ankle in legs],
        arms=[(neck + elbow, neck + hand) for elbow, hand in arms],
    )


def draw_person(pen: Pen, skeleton: Skeleton, outfit: Outfit, view: str = "ri", *, shadow: bool = True) -> None:
    """Draw a figure from the front (``view`` is ``fr``), from behind (``ba``) or, for any other view, in profile."""
    hip, neck, profile = skeleton.hip, skeleton.neck, view not in ("fr", "ba")
    legs: list[Capsule] = []
    arms: list[list[Capsule]] = []
    for side, (knee, ankle), (elbow, hand) in zip((-1, 1), skeleton.legs, skeleton.arms, strict=True):
        dim = 0.72 if profile and side < 0 else 1.0  # the far limbs
        wide = 0 if profile else side
        sole = 0.075j * (ankle - knee) / abs(ankle - knee) if profile else complex(0.015 * wide, -0.015)
        cloth, skin = shade(outfit.trousers, dim), shade(outfit.skin, dim)
        legs += [
            (hip + 0.05 * wide, knee, 0.058, 0.043, cloth),
            (knee, ankle, 0.043, 0.03, cloth),
            (ankle, ankle + sole, 0.03, 0.022, shade((70.0, 60.0, 58.0), dim)),
        ]
        shoulder, sleeve = neck - 0.035j + 0.1 * wide, shade(outfit.shirt, dim if side < 0 else 0.9)
        arms.append([(elbow, hand, 0.026, 0.03, skin), (shoulder, elbow, 0.038, 0.032, sleeve)])
    up = (neck - hip) / abs(neck - hip)
    ahead = -1j * up if profile else 0j
    head, chest = neck + 0.105 * up + 0.012 * ahead, neck - 0.05 * up
    broad = 0.0 if profile else 0.045
    scalp, face = head + 0.012 * up - 0.02 * ahead, head - 0.012 * up
    body: list[Capsule] = [
        (neck, head, 0.032, 0.032, shade(outfit.skin, 0.9)),
        (hip - broad / 2, chest - broad, 0.066, 0.075, outfit.shirt),
        (hip + broad / 2, chest + broad, 0.066, 0.075, outfit.shirt),
        (scalp, scalp, 0.08, 0.08, outfit.hair),
        (face, face + 0.022 * ahead, 0.06, 0.06, outfit.hair if view == "ba" else outfit.skin),
    ]
    if view != "ba":
        eyes = [head + 0.055 * ahead] if profile else [head - 0.025, head + 0.025]
        body += [(eye, eye, 0.01, 0.01, INK) for eye in eyes]
    if shadow:
        below = (hip * cmath.exp(-1j * pen.tilt)).real
        flat = dataclasses.replace(pen, tilt=0.0)
        flat.ellipse(complex(below), 0.22 + 0.25 * abs(math.sin(pen.tilt)), 0.03, SHADOW)
    pen.capsules([*arms[0], *legs, *body, *arms[1]])


def draw_cyclist(pen: Pen, distance: float, outfit: Outfit, colour: Colour) -> None:
    """Draw a bicycle that has rolled ``distance`` (statures), and its rider."""
    radius = 0.185
    rear, front, crank = complex(-0.3, radius), complex(0.32, radius), complex(-0.02, radius)
    saddle, bars, head = complex(-0.1, 0.47), complex(0.25, 0.56), complex(0.22, 0.47)
    pen.ellipse(0, 0.55, 0.025, SHADOW)
    roll = radius * cmath.exp(-1j * distance / radius)
    for hub in (rear, front):
        pen.lines([(hub + roll * spoke, hub - roll * spoke) for spoke in CIRCLE[:8:2]], 0.008, (215.0, 215.0, 215.0))
        pen.lines([hub + radius * TYRE], 0.03, (35.0, 32.0, 34.0))
    tubes = [(rear, crank), (rear, saddle), (saddle, crank), (saddle, head), (head, crank), (head, front), (head, bars)]
    pen.capsules([(start, end, 0.014, 0.014, colour) for start, end in tubes], outline=0.006)
    hip = saddle + 0.06j
    neck = hip + TORSO * cmath.exp(0.95j)
    turn = 0.085 * cmath.exp(-1j * distance / radius / 2.2)  # the gear: 2.2 turns of the wheel for one of the crank
    legs = [(_joint(hip, ankle, THIGH, 1), ankle) for ankle in (crank - turn + 0.03j, crank + turn + 0.03j)]
    arm = (_joint(neck - 0.035j, bars, FOREARM, -1), bars + 0.03j)
    draw_person(pen, Skeleton(hip, neck, legs, (arm, arm)), outfit, shadow=False)
    pen.capsules([(crank - turn, crank + turn, 0.012, 0.012, (60.0, 60.0, 60.0))], outline=0.004)


def _joint(root: complex, tip: complex, length: float, side: int) -> complex:
    """Return the knee or elbow of a limb of two segments of ``length`` between two points."""
    span = tip - root
    return root + span / 2 + side * 1j * span / abs(span) * math.sqrt(max(length**2 - abs(span / 2) ** 2, 0.0))


def draw_crate(pen: Pen, left: float, colour: Colour) -> None:
    """Draw a crate whose near edge is ``left`` statures ahead."""
    wide, tall = 0.5, 0.84
    pen.rectangle(left - 0.03j, wide, 0.03, SHADOW)
    pen.rectangle(complex(left), wide, tall, colour)
    boards = [complex(left, tall * part / 6) for part in range(1, 6)]
    pen.lines([(board, board + wide) for board in boards], 0.012, shade(colour, 0.6))
    a, b, c, d = (complex(left + x, y) for x, y in ((0, 0), (wide, 0), (wide, tall), (0, tall)))
    pen.lines([(a, b), (b, c), (c, d), (d, a), (a, c)], 0.035, shade(colour, 0.75))
