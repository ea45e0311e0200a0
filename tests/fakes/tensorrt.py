"""A FAKE of NVIDIA's ``tensorrt`` Python module, for machines without it. Nothing here is TensorRT.

``FakeTensorRT("10.3.0")`` stands in for the module (put it into ``sys.modules``). It has the names, and takes the
arguments, that the real bindings of that version have (``tests/deploy/tensorrt_surface``, taken from the real ones):
any other attribute is an ``AttributeError``, any other argument a ``TypeError``, as with pybind11. It notes what was
touched (``touched``) and what was asked for in vain (``missed``).

"Engines" hold the ONNX file and run it in ONNX Runtime, on host memory (``fakes.host_memory``). Faults that can be
planted, by name: ``no_gpu``, ``parse``, ``memory``, ``ignores_fp16``, ``wrong``, ``not_finite``, ``no_context``,
``no_load``, ``refuses_to_run``, ``other_cache``, ``silent_inspector``.
"""

import json
from pathlib import Path

if __name__ == "tensorrt":  # its folder is on sys.path for other fakes' sake; nobody shall take this for the real one
    raise ModuleNotFoundError("No module named 'tensorrt' (its fake must be asked for)", name="tensorrt")

from fakes.tensorrt_engine import MAGIC, Runtime
from fakes.tensorrt_guard import FakeObject, HostMemory, Surface, enumeration, log_to

FOLDER = Path(__file__).parents[1] / "deploy" / "tensorrt_surface"
VERSIONS = ("8.6.1", "10.0.1", "10.3.0", "10.16.1", "11.4.0")
_MOVED = ("Cast", "Constant", "Flatten", "Identity", "Reshape", "Squeeze")


class FakeTensorRT:
    """The module, of one version, on one fake GPU."""

    def __init__(self, version, *faults, gpu="Fake GPU 1000"):
        self._surface = Surface(json.loads((FOLDER / f"{version}.json").read_text()))
        self._faults, self._gpu = faults, gpu
        self._kinds = {kind.__name__.strip("_"): kind for kind in (_Builder, Runtime, _OnnxParser)}
        self.__version__ = self._surface.version
        self._logger = _logger_class(self._surface)
        self.touched, self.missed = self._surface.touched, self._surface.missed

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        self._surface.touch_module(name)
        if name == "ILogger":
            return self._logger
        if name in self._surface.enums:
            return enumeration(self._surface, name)
        if name not in self._kinds:
            raise NotImplementedError(f"fake: {name} exists in TensorRT {self.__version__}, but not in the fake")
        return lambda *args, **named: self._kinds[name](self, args, named)


def _logger_class(surface):
    class ILogger:
        """Subclassed by users; the base must be initialised, as pybind11 insists."""

        Severity = enumeration(surface, "ILogger.Severity")

        def __init__(self):
            self._ready = True

    return ILogger


class _Builder(FakeObject):
    def _made(self, logger):
        if not getattr(logger, "_ready", False):
            raise TypeError("tensorrt.ILogger.__init__() must be called when overriding __init__")
        self._log = logger
        if "no_gpu" in self._trt._faults:
            log_to(logger, "ERROR", "CUDA initialization failure with error: 100 (fake)")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags=0):
        named = {name for name, bit in self._surface.enums["NetworkDefinitionCreationFlag"].items() if flags >> bit & 1}
        assert flags < 1 << len(self._surface.enums["NetworkDefinitionCreationFlag"]), "fake: an unknown flag"
        network = _INetworkDefinition(self._trt)
        network._flags = named
        self._trt._network = network
        return network

    def create_builder_config(self):
        config = self._trt._config = _IBuilderConfig(self._trt)
        config._log = self._log
        return config

    def create_optimization_profile(self):
        return _IOptimizationProfile(self._trt)

    def build_serialized_network(self, network, config):
        refusal = self._refusal(network, config)
        if refusal:
            log_to(self._log, "ERROR", refusal)
            return None
        log_to(self._log, "WARNING", "fake: this is not TensorRT")
        if config._cache is not None:
            config._cache._content = config._cache._content + b"timing\n"
        plan = {
            "version": self._trt.__version__,
            "gpu": self._trt._gpu,
            "profile": config._profile._shapes if config._profile else None,
            "layers": self._layers(network, config),
            "detailed": config.__dict__.get("profiling_verbosity") == self._enum("ProfilingVerbosity", "DETAILED"),
        }
        return HostMemory(self._surface, MAGIC + json.dumps(plan).encode() + b"\n" + network._model)

    def _refusal(self, network, config):
        if network._model is None:
            return "fake: the network is empty"
        dynamic = {tensor._name for tensor in network._inputs if -1 in tensor._shape}
        if dynamic and (config._profile is None or set(config._profile._shapes) != dynamic):
            return f"Network has dynamic inputs {sorted(dynamic)}, but no optimization profile covers them (fake)"
        if "memory" in self._trt._faults:
            return "Error Code 2: OutOfMemory (Requested size was 17179869184 bytes.) (fake)"
        strong = "STRONGLY_TYPED" in network._flags or self._surface.major >= 11
        lowered = config._flags & {"FP16", "INT8", "BF16"}
        if strong and lowered:
            return f"{sorted(lowered)} cannot be set for a strongly typed network (fake)"
        if not strong and "float16" in network._types and "FP16" not in config._flags:
            return "Half tensors in the network, but FP16 is not enabled (fake)"
        return None

    def _layers(self, network, config):
        """Name each node's precision: by its weights where typing is strong, else by the builder's flags."""
        layers = []
        for node in network._nodes:
            word = "FP16" if "FP16" in config._flags or node["type"] == "float16" else "FP32"
            word = "Int8" if node["quantised"] else word
            if "ignores_fp16" in self._trt._faults:
                word = "FP32"
            formats = [{"Name": "t", "Format/Datatype": f"Row major linear {word}"}]
            kind = "Reformat" if node["op"] in _MOVED else "CaskConvolution"
            layers.append({"Name": node["name"], "LayerType": kind, "Inputs": formats, "Outputs": formats})
        return layers


class _ITensor(FakeObject):
    @property
    def name(self):
        return self._name


class _INetworkDefinition(FakeObject):
    def _made(self):
        self._model, self._inputs, self._nodes, self._types, self._flags = None, [], [], set(), set()

    @property
    def num_inputs(self):
        return len(self._inputs)

    def get_input(self, index):
        return self._inputs[index]


class _OnnxParser(FakeObject):
    def _made(self, network, logger):
        self._network, self._errors = network, []

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        error = _ParserError(self._trt)
        error._number, error._text = index, self._errors[index]
        return error

    def parse(self, model, path=None):
        import onnx
        from google.protobuf.message import DecodeError

        if self._surface.major < 10 and "EXPLICIT_BATCH" not in self._network._flags:
            self._errors.append("only networks with an explicit batch are supported (fake)")
        if "parse" in self._trt._faults:
            self._errors += ["Unsupported operator FakeOne (fake)", "In node 12: axes must be constant (fake)"]
        try:
            graph = onnx.load_from_string(model).graph
        except DecodeError:
            self._errors.append("Failed to parse the ONNX model (fake)")
        if self._errors:
            return False
        of = {init.name: onnx.helper.tensor_dtype_to_np_dtype(init.data_type).name for init in graph.initializer}
        quantisers = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        for each in graph.input:
            tensor = _ITensor(self._trt)
            tensor._name = each.name
            tensor._shape = [dim.dim_value or -1 for dim in each.type.tensor_type.shape.dim]
            self._network._inputs.append(tensor)
            of[each.name] = "float32"
        for node in graph.node:
            read = node.input[1:] if node.op_type == "DequantizeLinear" else node.input
            kind = of.get(read[0], "float32") if read else "float32"
            if node.op_type == "Cast":
                kind = onnx.helper.tensor_dtype_to_np_dtype(node.attribute[0].i).name
            of |= dict.fromkeys(node.output, "int8" if node.op_type == "QuantizeLinear" else kind)
            self._network._types.add(kind)
            entry = {"name": node.name, "op": node.op_type, "type": kind}
            self._network._nodes.append({**entry, "quantised": bool(quantisers & set(node.input))})
        self._network._model = bytes(model)
        return True


class _ParserError(FakeObject):
    def node(self):
        return self._number

    def desc(self):
        return self._text

    def node_name(self):
        return f"node{self._number}"

    def node_operator(self):
        return "Fake"


class _IOptimizationProfile(FakeObject):
    def _made(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise RuntimeError("Shape provided for min is inconsistent with other shapes. (fake)")
        self._shapes[input] = [list(min), list(opt), list(max)]


class _IBuilderConfig(FakeObject):
    def _made(self):
        self._flags, self._profile, self._cache, self._limits = {"TF32"}, None, None, {}

    def set_flag(self, flag):
        self._flags.add(flag.name)

    def clear_flag(self, flag):
        self._flags.discard(flag.name)

    def set_memory_pool_limit(self, pool, pool_size):
        self._limits[pool.name] = pool_size

    def add_optimization_profile(self, profile):
        self._profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache):
        cache = _ITimingCache(self._trt)
        cache._content = bytes(serialized_timing_cache) or cache._header()
        return cache

    def set_timing_cache(self, cache, ignore_mismatch):
        if not cache._content.startswith(cache._header()) or "other_cache" in self._trt._faults:
            log_to(self._log, "WARNING", "The timing cache is of another device or version (fake)")
            if not ignore_mismatch and cache._content != cache._header():
                return False
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class _ITimingCache(FakeObject):
    def _header(self):
        return f"timings of {self._trt.__version__} on {self._trt._gpu}\n".encode()

    def serialize(self):
        return HostMemory(self._surface, self._content)
