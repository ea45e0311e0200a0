"""Kinetics-400: clips of 400 actions from YouTube, 10 seconds each (Kay et al., 2017)."""

from araflow.datasets._kinetics.dataset import Kinetics

_edition = Kinetics("kinetics400")
classes, check, prepare, list_clips = _edition.classes, _edition.check, _edition.prepare, _edition.list_clips
