"""What stages hand on, and the states that their errors end in."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State
from prefect.states import Cancelled, Failed

from araflow.core.errors import AraflowError, PoolClosedError
from araflow.core.screen import shown

if logging.getLogger("araflow").level == logging.NOTSET:
    # Prefect shows only warnings of loggers that do not ask for more.
    logging.getLogger("araflow").setLevel(logging.INFO)
INCOMPLETE = "Incomplete"
"""Name of the state of a build that has ended, but some clips were quarantined or failed: completed to Prefect."""
_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclasses.dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage hands on; an object, since Prefect draws an edge only where one is passed.

    Attributes:
        stage: Name of the stage.
        counts: Clips by outcome.
        made: Clips that were worked on, as against found done.
        seconds: Wall time.
    """

    stage: str
    counts: dict[str, int]
    made: int = 0
    seconds: float = 0.0


def without_traceback(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """End in state Failed with the message of an error that araflow explains itself, without a traceback in the log.

    The history keeps what a state says, so that it is said as people may see it.
    """

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R | State[Any]:
        try:
            return function(*args, **kwargs)
        except PoolClosedError as error:
            return Cancelled(message=shown(str(error)), data=error)
        except AraflowError as error:
            return Failed(message=shown(str(error)), data=error)
        except Exception as error:  # Prefect makes a state of it that says the same
            error.args = tuple(shown(one) if isinstance(one, str) else one for one in error.args)
            raise

    return cast(Callable[_P, _R], run)  # Prefect turns a returned state into its result, or raises its error
