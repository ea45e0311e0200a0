"""Kinetics-600: clips of 600 actions from YouTube (Carreira et al., 2018)."""

from araflow.datasets._kinetics.dataset import Kinetics

_edition = Kinetics("kinetics600")
classes, check, prepare, list_clips = _edition.classes, _edition.check, _edition.prepare, _edition.list_clips
