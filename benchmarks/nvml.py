"""What a GPU says of itself through the driver's management library. Never run on hardware."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


def attempt(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever JSON takes
    """Return what ``work`` returns, or its error as text: one refusal is an answer, too."""
    try:
        return work()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


class Nvml:
    """The few readings of ``libnvidia-ml.so.1`` that are wanted: names, MIG mode, utilisation."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._device = ctypes.c_void_p()
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByIndex_v2", 0, ctypes.byref(self._device))

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise OSError(f"{name} answered {status}")

    def text(self, name: str, *of: object) -> str:
        """Return what a function writes into a buffer."""
        text = ctypes.create_string_buffer(96)
        self._call(name, *of, text, ctypes.c_uint(len(text)))
        return text.value.decode()

    def identity(self) -> dict[str, Any]:
        """Return names and modes."""
        return {
            "driver": attempt(lambda: self.text("nvmlSystemGetDriverVersion")),
            "gpu": attempt(lambda: self.text("nvmlDeviceGetName", self._device)),
            "mig": attempt(self.mig),
        }

    def mig(self) -> int:
        """Return whether the GPU is cut into slices: 0 or 1."""
        now, later = ctypes.c_uint(), ctypes.c_uint()
        self._call("nvmlDeviceGetMigMode", self._device, ctypes.byref(now), ctypes.byref(later))
        return now.value

    def busy(self) -> tuple[int, int]:
        """Return how busy the optical-flow engine and the cores were lately, in percent."""
        engine, period, rates = ctypes.c_uint(), ctypes.c_uint(), (ctypes.c_uint * 2)()
        self._call("nvmlDeviceGetOfaUtilization", self._device, ctypes.byref(engine), ctypes.byref(period))
        self._call("nvmlDeviceGetUtilizationRates", self._device, rates)
        return engine.value, rates[0]
