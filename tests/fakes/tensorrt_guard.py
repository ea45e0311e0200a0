"""What holds the fake TensorRT to the names and arguments of the real one."""

import re


class Surface:
    """What the real bindings of one version have; notes what is touched.

    ``touched`` and ``missed`` hold (class, name); the class of a name of the module itself is "".
    """

    def __init__(self, facts):
        self.version, self.major = facts["version"], int(facts["version"].split(".")[0])
        self.enums, self.classes, self.names = facts["enums"], facts["classes"], set(facts["names"])
        self.touched, self.missed = set(), set()

    def has(self, kind, name):
        if kind == "":
            return name in self.names
        if kind in self.enums:
            return name in self.enums[kind]
        return any(name in self.classes[kind][part] for part in ("methods", "properties", "nested"))

    def touch(self, kind, name):
        """Note a use; refuse what the real class lacks, as the real class does."""
        there = self.has(kind, name)
        (self.touched if there else self.missed).add((kind, name))
        if not there:
            raise AttributeError(f"'tensorrt.{kind}' object has no attribute '{name}'")

    def touch_module(self, name):
        self.touch("", name)

    def bind(self, kind, name, args, named):
        """Return the arguments in order, or raise TypeError unless some overload takes them."""
        overloads = self.classes[kind]["methods"].get(name) or [""]
        for text in overloads:
            found = _match(self, _parameters(text), args, named)
            if found is not None:
                return found
        raise TypeError(f"{kind}.{name}(): incompatible function arguments {args} {named}; supported: {overloads}")


def _parameters(text):
    """Split ``a: int, b: List[int] = []`` into (name, type, whether it has a default)."""
    depth, parts, part = 0, [], ""
    for letter in text:
        depth += letter in "[(<"
        depth -= letter in "])>"
        if letter == "," and depth == 0:
            parts, part = [*parts, part], ""
        else:
            part += letter
    found = []
    for each in [*parts, part]:
        if each.strip():
            name, _, kind = each.strip().partition(": ")
            found.append((name, kind.split(" = ")[0], " = " in kind))
    return found


def _match(surface, parameters, args, named):
    given = dict(zip([name for name, _, _ in parameters], args, strict=False))
    if len(args) > len(parameters) or set(given) & set(named) or set(named) - {name for name, _, _ in parameters}:
        return None
    given |= named
    for name, kind, optional in parameters:
        if name not in given and not optional:
            return None
        if name in given and not _fits(surface, given[name], kind):
            return None
    return [given[name] for name, _, _ in parameters if name in given]


def _fits(surface, value, kind):
    kind = re.sub(r"^nv\w+::", "", kind)
    if kind in ("int", "typing.SupportsInt"):
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in ("buffer", "typing_extensions.Buffer"):
        return isinstance(value, bytes | bytearray | memoryview)
    if kind in ("str", "bool", "tuple", "list"):
        return type(value).__name__ == kind
    if kind == "Dims":
        return isinstance(value, tuple | list) and all(isinstance(size, int) for size in value) and len(value) <= 8
    if kind == "ILogger":
        return any(base.__name__ == "ILogger" for base in type(value).__mro__)
    if kind in surface.enums:
        return isinstance(value, Member) and value.kind == kind
    return isinstance(value, Guarded) and value._kind == kind


class Guarded:
    """An object whose public attributes are those of a real class, with the real arguments."""

    def _begin(self, kind, surface):
        self.__dict__.update(_kind=kind, _surface=surface)

    def __getattribute__(self, name):
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        surface, kind = self._surface, self._kind
        surface.touch(kind, name)
        try:
            value = object.__getattribute__(self, name)
        except AttributeError:
            if surface.classes[kind]["properties"].get(name) == "read-write":
                return None  # a setting that nobody has set
            raise NotImplementedError(f"fake: {kind}.{name} exists in {surface.version}, but not in the fake") from None
        if name not in surface.classes[kind]["methods"]:
            return value
        return lambda *args, **named: value(*surface.bind(kind, name, args, named))

    def __setattr__(self, name, value):
        if not name.startswith("_"):
            self._surface.touch(self._kind, name)
            if self._surface.classes[self._kind]["properties"].get(name) != "read-write":
                raise AttributeError(f"can't set attribute {name} of {self._kind}")
        self.__dict__[name] = value


class HostMemory(bytes):
    """``IHostMemory``: bytes for whoever asks by the buffer protocol, and nothing else of bytes."""

    def __new__(cls, surface, content):
        memory = super().__new__(cls, content)
        memory._surface = surface
        return memory

    def __getattribute__(self, name):
        if not name.startswith("_"):
            self._surface.touch("IHostMemory", name)
        return super().__getattribute__(name)


class Member:
    """A member of a pybind11 enum: equal to itself only, and an int when asked."""

    def __init__(self, kind, name, number):
        self.kind, self.name, self.value = kind, name, number

    def __int__(self):
        return self.value

    def __eq__(self, other):
        return isinstance(other, Member) and (self.kind, self.value) == (other.kind, other.value)

    def __hash__(self):
        return hash((self.kind, self.value))

    def __repr__(self):
        return f"<{self.kind}.{self.name}: {self.value}>"


class _Enumeration:
    def __init__(self, surface, kind):
        self._surface, self._kind = surface, kind

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        self._surface.touch(self._kind, name)
        return self._member(name)

    def _member(self, name):
        return Member(self._kind, name, self._surface.enums[self._kind][name])


def enumeration(surface, kind):
    return _Enumeration(surface, kind)


class FakeObject(Guarded):
    def __init__(self, trt, args=(), named=None):
        kind = type(self).__name__.strip("_")
        self._begin(kind, trt._surface)
        self._trt = trt
        self._made(*self._surface.bind(kind, "__init__", args, named or {}))

    def _made(self, *given):
        pass

    def _enum(self, kind, name):
        return enumeration(self._surface, kind)._member(name)


def log_to(logger, severity, text):
    kind = type(logger).Severity
    logger.log(kind._member(severity), text)
