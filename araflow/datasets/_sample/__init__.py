"""How the sample dataset is drawn. Nothing here is footage; every pixel comes from this code.

A clip of the sample is a small film: an articulated figure that walks, runs, cycles, falls or pushes before a textured
backdrop, so that a recogniser can tell the classes apart by optical flow alone and by rgb alone. Read it in this order:

- ``pen``: fills shapes with soft edges and sub-pixel motion.
- ``look``: what all clips of one title share: backdrop and clothes.
- ``figures``: the person, the cyclist and the crate, in any pose.
- ``shots``: what happens in a clip (``plan_shot``), and its frames (``render``).
- ``files``: titles, names, split lists and video files as HMDB51 has them (``draw_sample``).

What belongs to a title is seeded by the title, what belongs to a clip by its class and number. So clips of one title
look alike, the same settings draw the same clips, and adding clips or classes changes no other clip.
"""

from araflow.datasets._sample.files import CLASSES, draw_sample

__all__ = ["CLASSES", "draw_sample"]
