"""The running half of the FAKE TensorRT (see ``fakes.tensorrt``): its "engines" are ONNX files, run by ONNX Runtime."""

import ctypes
import json

import numpy as np
from fakes.host_memory import STREAMS
from fakes.tensorrt_guard import FakeObject, log_to

MAGIC = b"fake engine\n"


class Runtime(FakeObject):
    def _made(self, logger):
        self._log = logger
        if "no_gpu" in self._trt._faults:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def deserialize_cuda_engine(self, serialized_engine):
        import onnxruntime

        data = bytes(serialized_engine)
        try:
            head, model = data.removeprefix(MAGIC).split(b"\n", 1)
            plan = json.loads(head)
        except ValueError:
            plan = {}
        if plan.get("version") != self._trt.__version__ or "no_load" in self._trt._faults:
            log_to(self._log, "ERROR", "Serialization assertion failed: version tag does not match (fake)")
            return None
        engine = _ICudaEngine(self._trt)
        engine._plan, engine._log = plan, self._log
        engine._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        ports = [("INPUT", port) for port in engine._session.get_inputs()]
        ports += [("OUTPUT", port) for port in engine._session.get_outputs()]
        engine._ports = {port.name: (mode, port) for mode, port in ports}
        return engine


class _ICudaEngine(FakeObject):
    @property
    def num_io_tensors(self):
        return len(self._ports)

    def get_tensor_name(self, index):
        return list(self._ports)[index]

    def get_tensor_mode(self, name):
        return self._enum("TensorIOMode", self._ports[name][0])

    def get_tensor_dtype(self, name):
        return self._enum("DataType", {"tensor(float)": "FLOAT", "tensor(float16)": "HALF"}[self._ports[name][1].type])

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self._ports[name][1].shape)

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        profile = self._plan["profile"]
        return [tuple(shape) for shape in profile[name]] if profile else [tuple(self._ports[name][1].shape)] * 3

    def create_execution_context(self):
        if "no_context" in self._trt._faults:
            log_to(self._log, "ERROR", "Error Code 2: OutOfMemory (no further information) (fake)")
            return None
        context = _IExecutionContext(self._trt)
        context._engine = self
        return context

    def create_engine_inspector(self):
        inspector = _EngineInspector(self._trt)
        inspector._engine = self
        return inspector


class _IExecutionContext(FakeObject):
    def _made(self):
        self._shapes, self._addresses = {}, {}

    def set_input_shape(self, name, shape):
        profile = self._engine._plan["profile"]
        least, most = profile[name][::2] if profile else [self._engine._ports[name][1].shape] * 2
        fits = len(shape) == len(least) and all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))
        if not fits:
            log_to(self._engine._log, "ERROR", f"{name}: {shape} is not within the profile (fake)")
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        mode, port = self._engine._ports[name]
        if mode == "INPUT":
            return self._shapes.get(name, (-1, *port.shape[1:]))
        batch = next(iter(self._shapes.values()), (-1,))[0]
        return (batch, *port.shape[1:])

    def set_tensor_address(self, name, memory):
        assert name in self._engine._ports and memory
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        ports, faults = self._engine._ports, self._trt._faults
        if set(self._addresses) != set(ports) or "refuses_to_run" in faults:
            log_to(self._engine._log, "ERROR", "Not all tensors have an address (fake)")
            return False

        def at(name):
            shape = self._shapes.get(name) or self._output_shape(name)
            pointer = ctypes.cast(self._addresses[name], ctypes.POINTER(ctypes.c_float))
            return np.ctypeslib.as_array(pointer, shape)

        inputs = [name for name, (mode, _) in ports.items() if mode == "INPUT"]

        def work():
            for name, array in zip(
                [name for name in ports if name not in inputs],
                self._engine._session.run(None, {name: at(name) for name in inputs}),
                strict=True,
            ):
                at(name)[:] = array * (-1 if "wrong" in faults else 1) + (np.nan if "not_finite" in faults else 0)

        STREAMS[stream_handle].queue.append(work)
        return True

    def _output_shape(self, name):
        return (next(iter(self._shapes.values()))[0], *self._engine._ports[name][1].shape[1:])


class _EngineInspector(FakeObject):
    def get_engine_information(self, format):
        if format.name != "JSON" or "silent_inspector" in self._trt._faults:
            return ""
        plan, context = self._engine._plan, self.__dict__.get("execution_context")
        layers = plan["layers"]
        if plan["profile"] and (context is None or not context._shapes):
            unknown = [{"Name": "t", "Format/Datatype": "N/A due to dynamic shapes"}]
            layers = [{**layer, "Inputs": unknown, "Outputs": unknown} for layer in layers]
        if not plan["detailed"]:
            layers = [layer["Name"] for layer in layers]
        return json.dumps({"Layers": layers, "Bindings": list(self._engine._ports)})
