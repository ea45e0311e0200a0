"""What TensorRT says while it works: kept, so that a failure can repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SHOWN = 20
"""Lines of the log that an error repeats; the first ones, since what follows is mostly their consequence."""
_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "not enough memory", "workspace", "alloc")


class Log:
    """Warnings and errors of TensorRT, in order.

    Attributes:
        errors: What it said as an error.
        warnings: What it said as a warning.
        logger: The ``ILogger`` to hand to TensorRT; must outlive everything that is made with it.
    """

    def __init__(self, trt: Any) -> None:  # noqa: ANN401
        self.errors: list[str] = []
        self.warnings: list[str] = []
        levels = trt.ILogger.Severity
        errors = (levels.INTERNAL_ERROR, levels.ERROR)

        def log(_: object, severity: object, text: str) -> None:
            if severity in errors:
                self.errors.append(text)
            elif severity == levels.WARNING:
                self.warnings.append(text)

        def begin(logger: object) -> None:
            trt.ILogger.__init__(logger)  # pybind11 insists that the base is initialised by name

        self.logger: Any = type("Logger", (trt.ILogger,), {"__init__": begin, "log": log})()

    def said(self) -> str:
        """Return the errors as one indented text, or the warnings where there are none."""
        lines = self.errors or self.warnings
        return listed(lines) if lines else " TensorRT gave no reason."

    @property
    def names_memory(self) -> bool:
        """Whether an error or warning is about memory."""
        text = " ".join([*self.errors, *self.warnings]).lower()
        return any(word in text for word in _MEMORY)


def listed(lines: Sequence[str]) -> str:
    """Return lines, each once, below one another and indented."""
    each = list(dict.fromkeys(line.strip() for line in lines))
    more = [f"… and {len(each) - _SHOWN} more"] if len(each) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*each[:_SHOWN], *more])
