"""A training tried without memory and without clips: what its network, weights and frozen layers would refuse."""

from __future__ import annotations

import warnings

from araflow.recognition.experiment import Prepared
from araflow.recognition.training.run import finished


def rehearse(prepared: Prepared) -> None:
    """Build the network without memory, and try its weights and what is kept fixed; not where it is trained already.

    Raises:
        SpecError: A training would refuse it.
        SourceError: A file of weights cannot be read.
    """
    if finished(prepared) is not None:
        return
    from araflow.recognition.networks import outline
    from araflow.recognition.training._module import keep_fixed
    from araflow.recognition.weights import load_all

    network = outline(prepared.model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is a no-op")  # what has no memory takes no values
        load_all(network, prepared.spec.network)
    keep_fixed(network, prepared.spec.network.freeze)
