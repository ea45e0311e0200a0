"""A fake GPU's memory and stream, on the host, for ``araflow.deploy.tensorrt._gpu.Gpu``.

What is queued happens when it is waited for, as on a real stream: whoever reads too early, or queues on another stream,
is found out. Captured graphs replay what was queued while they were captured.
"""

import numpy as np

STREAMS = {}
"""Handle → the device whose stream it is."""


class _Buffer:
    def __init__(self, shape):
        self.device = np.full(shape, np.nan, np.float32)
        self.host = np.full(shape, np.nan, np.float32)

    @property
    def address(self):
        return self.device.ctypes.data


class HostDevice:
    """See ``Device``. ``limit`` is the memory in bytes; ``tick`` what every timed step takes in seconds."""

    def __init__(self, name="Fake GPU 1000", capability=(8, 6), limit=None, tick=0.001):
        self.name, self.capability, self.limit, self.tick = name, capability, limit, tick
        self.stream = 7000 + len(STREAMS)
        self.queue, self.captures, self.allocated = [], 0, []
        STREAMS[self.stream] = self

    def allocate(self, shape):
        if self.limit is not None and 4 * np.prod(shape) > self.limit:
            raise MemoryError(f"fake: {shape} is more than {self.limit} bytes")
        self.allocated.append(shape)
        return _Buffer(shape)

    def stage(self, buffer, array):
        self._wait()
        assert array.dtype == np.float32 and array.shape == buffer.host.shape
        buffer.host[:] = array

    def send(self, buffer):
        self.queue.append(lambda: buffer.device.__setitem__(..., buffer.host))

    def fetch(self, buffer):
        self.queue.append(lambda: buffer.host.__setitem__(..., buffer.device))

    def staged(self, buffer):
        self._wait()
        return buffer.host.copy()

    def capture(self, step):
        self._wait()
        step()
        graph, self.queue = self.queue, []
        self.captures += 1
        return lambda: self.queue.extend(graph)

    def timed(self, *steps):
        for step in steps:
            step()
        self._wait()
        return [self.tick] * len(steps)

    def _wait(self):
        while self.queue:
            self.queue.pop(0)()
