"""A whole experiment without Prefect: trained, evaluated, exported. ``flows/train_eval.py`` runs the same stages."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from araflow.core import telling
from araflow.deploy import finished, products
from araflow.recognition import results as outcome
from araflow.recognition.experiment import Experiment, Prepared
from araflow.recognition.results import Result
from araflow.recognition.training import run as training
from araflow.recognition.training import timing

log = logging.getLogger(__name__)


def carry_out(found: Experiment, prepared: Sequence[Prepared]) -> dict[str, Result]:
    """Train, or go on where an earlier run ended; evaluate; export, build and time what the experiment asks for.

    Args:
        found: The experiment.
        prepared: The same with its clips, per protocol.

    Returns:
        A result per protocol; of an experiment with a split of its own, under the name ``split``.

    Raises:
        AraflowError: A stage failed.
    """
    results: dict[str, Result] = {}
    for own in prepared:
        for line in timing.opening(own):
            log.info("%s", line)
        for note in own.notes:
            log.warning("%s", note)
        trained = training.train(own)
        results[found.key_of(own)] = Result(own, trained, outcome.evaluate(own, trained.checkpoint))
    for key, result in results.items():  # now that all is trained: what fails here costs nothing of it
        exported = products.export(result.prepared, result.trained.checkpoint)
        built = products.engine(result.prepared, exported)
        timed = products.bench(result.prepared, exported, built)
        for made in (exported, built, timed):
            log.info("%s", made.line, extra=telling.DETAIL)
        results[key] = dataclasses.replace(result, deployed=(exported, built, timed))
    finished.record(results)
    return results
