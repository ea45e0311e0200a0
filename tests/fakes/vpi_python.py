"""Pretends to be a Jetson's system Python: run as ``vpi_python.py -I SCRIPT ...``, it runs the script with a fake vpi.

``FAKE_VPI_KIND`` says which module it finds: ``nvidia`` (the fake), ``registry`` (an unrelated one in Python, as the
registry's "VPi" is), ``broken`` (compiled for another Python) or ``absent``.
"""

import importlib.machinery
import os
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KIND = os.environ.get("FAKE_VPI_KIND", "nvidia")


class Broken:
    @staticmethod
    def create_module(spec):
        raise ImportError("undefined symbol: PyUnicode_AsUTF8AndSize")

    @staticmethod
    def exec_module(module): ...


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "vpi" or KIND == "absent":
            return None
        if KIND == "registry":
            return importlib.machinery.ModuleSpec(
                name, Broken, origin="/usr/local/lib/python3/dist-packages/vpi/__init__.py"
            )
        loader = Broken if KIND == "broken" else importlib.machinery.SourceFileLoader(name, str(HERE / "vpi.py"))
        origin = "/usr/lib/python3/dist-packages/vpi.cpython-310-aarch64-linux-gnu.so"
        return importlib.machinery.ModuleSpec(name, loader, origin=origin)


assert sys.argv[1] == "-I", "without it the script's own folder, which has our vpi.py, would come first"
sys.argv = sys.argv[2:]
sys.path[:1] = [str(HERE)] if KIND == "nvidia" else []  # for what the fake imports; vpi comes from the finder
sys.meta_path.insert(0, Finder)
runpy.run_path(sys.argv[0], run_name="__main__")
