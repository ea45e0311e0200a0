"""Kinetics-700-2020: clips of 700 actions from YouTube (Smaira et al., 2020)."""

from araflow.datasets._kinetics.dataset import Kinetics

_edition = Kinetics("kinetics700_2020")
classes, check, prepare, list_clips = _edition.classes, _edition.check, _edition.prepare, _edition.list_clips
