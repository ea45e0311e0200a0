"""Kinetics-700-2020: clips of 700 actions from YouTube (Smaira et al., 2020)."""

from araflow.datasets._kinetics import Kinetics

dataset = Kinetics("kinetics700_2020")
