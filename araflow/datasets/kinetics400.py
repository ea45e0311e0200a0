"""Kinetics-400: clips of 400 actions from YouTube, 10 seconds each (Kay et al., 2017)."""

from araflow.datasets._kinetics import Kinetics

dataset = Kinetics("kinetics400")
