"""Kinetics-600: clips of 600 actions from YouTube (Carreira et al., 2018)."""

from araflow.datasets._kinetics import Kinetics

dataset = Kinetics("kinetics600")
