"""Which clips a build makes: what is listed, before anything is known of it."""

from __future__ import annotations

import dataclasses

from araflow.core.clip import Clip
from araflow.core.listing import PassedOver


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """The clips of a build.

    Attributes:
        clips: Listed clips, sorted by key.
        labels: Class names in label order.
        split_of: Clip key to split; empty where no split was asked for.
        passed_over: What lies in the source and became no clip.
        remarks: What was guessed about the source, in words.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    split_of: dict[str, str]
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()
