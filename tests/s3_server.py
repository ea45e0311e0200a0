"""OpenStack Swift on loopback: a production object store, whose middleware ``s3api`` speaks S3 and checks signatures.

It runs here with one copy of each object, in a folder, as the user who runs the tests.
"""

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

KEY, SECRET = "test:tester", "testing"
READERS_KEY, READERS_SECRET = "test:reader", "reading"
"""Of a user who may read what it is allowed to, and write nothing."""
STORES = ("account", "container", "object")
PROXY = """[pipeline:main]
pipeline = catch_errors proxy-logging cache listing_formats s3api tempauth copy dlo slo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_test_reader = reading
[filter:copy]
use = egg:swift#copy
[filter:dlo]
use = egg:swift#dlo
[filter:slo]
use = egg:swift#slo
"""
RINGS = """
import sys
from swift.common.ring import RingBuilder

folder, *named = sys.argv[1:]
for name, port in zip(named[::2], named[1::2]):
    builder = RingBuilder(4, 1, 0)
    device = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "disk", "weight": 1.0}
    builder.add_dev(device)
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""


class Server:
    """A server, with its data in a new folder.

    Attributes:
        url: Where the proxy, which speaks S3, answers.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._ports = {name: _free_port() for name in (*STORES, "proxy")}
        self.url = f"http://127.0.0.1:{self._ports['proxy']}"
        _write_settings(folder, self._ports)
        for name in STORES:
            self._start(name)
        self.begin()

    def begin(self) -> None:
        """Start the proxy."""
        self._proxy = self._start("proxy")

    def end(self) -> None:
        """Kill the proxy; from now on nothing answers."""
        self._proxy.kill()
        self._proxy.wait()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"SWIFT_DIR": str(self._folder), "PYTHONWARNINGS": "ignore"}
        program = Path(sys.executable).with_name(f"swift-{name}-server")
        log = self._stack.enter_context((self._folder / f"{name}.log").open("ab"))
        command = [program, self._folder / f"{name}.conf"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        _wait_for(self._ports[name], process, self._folder)
        return process


def environment(server: Server) -> dict[str, str]:
    """Return the variables by which a client finds a server, and may write there."""
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Server]:
    """Run a server until the end of the block."""
    import s3fs

    # It keeps its clients by their arguments; where the server is, a variable says, and that may be another one now.
    s3fs.S3FileSystem.clear_instance_cache()
    with contextlib.ExitStack() as stack:
        yield Server(folder, stack)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, f"it has ended: see the logs in {folder}"
        time.sleep(0.1)
    raise AssertionError(f"it does not answer: see the logs in {folder}")


def _write_settings(folder: Path, ports: dict[str, int]) -> None:
    (folder / "disks" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = a\n[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    named = [part for name in STORES for part in (name, str(ports[name]))]
    subprocess.run([sys.executable, "-W", "ignore", "-c", RINGS, str(folder), *named], check=True)
    for name, port in ports.items():
        settings = {
            "bind_ip": "127.0.0.1",
            "bind_port": port,
            "swift_dir": folder,
            "devices": folder / "disks",
            "mount_check": "false",
            "fallocate_reserve": 0,
            "workers": 0,
            "user": getpass.getuser(),
        }
        lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
        store = f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
        (folder / f"{name}.conf").write_text(f"[DEFAULT]\n{lines}{PROXY if name == 'proxy' else store}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
