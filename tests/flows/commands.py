"""``araflow`` as a user calls it, in a process of its own, without waiting seconds for its imports each time.

A process imports what the commands import, and forks for each of them: exit status, standard output and error, signals
and what happens when Python ends are those of a program. What a command *imports* is for other tests.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FORKING = """
import importlib, json, os, sys
from flows.server import settings; settings.apply()
from araflow import cli
import flows.deployments

for line in sys.stdin:
    asked = json.loads(line)
    for name in asked["modules"]:
        importlib.import_module(name)
    child = os.fork()
    if not child:
        os.setsid()
        for number, path in enumerate(asked["files"]):
            os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), number)
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        sys.argv = ["araflow", *asked["arguments"]]
        if asked["code"]:
            exec(asked["code"])
            sys.exit()
        cli.main()  # ends by SystemExit, and so does Python as it does elsewhere
        sys.exit("cli.main came back")
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
TRAINING = ("flows.train_eval", "lightning.pytorch")
"""What ``train-eval`` imports besides."""


def clean(environment: dict[str, str] | None = None, **more: str) -> dict[str, str]:
    """Return a user's environment with no Prefect settings but those given."""
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if not name.startswith("PREFECT_")} | more


class Commands:
    """Commands in one environment, whose variables of Prefect's are the same for all. A context manager."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._last: Command | None = None

    def __enter__(self) -> "Commands":
        # Not from the checkout, so that prefect.toml is not there to help.
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKING],
            cwd=tempfile.gettempdir(),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(
        self, folder: Path, *arguments: str, modules: tuple[str, ...] = (), code: str = "", **environment: str
    ) -> "Command":
        """Begin ``araflow`` with these arguments in a folder, or Python code; one at a time."""
        own = {name: value for name, value in os.environ.items() if name.startswith("ARAFLOW_") or name == "NO_PROXY"}
        if self._last is not None and self._last.runs:  # of a test that has failed
            os.killpg(self._last.pid, signal.SIGKILL)
            self._last.wait()
        command = self._last = Command(arguments)
        asked = {
            "modules": modules,
            "code": code,
            "files": [os.devnull, *command.files],
            "folder": str(folder),
            "environment": own | environment,
            "arguments": arguments,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        command.pid, command.status = int(self._process.stdout.readline()), self._process.stdout.readline
        return command

    def run(self, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run ``araflow`` with these arguments in a folder."""
        return self.start(folder, *arguments, **more).wait()

    def python(self, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
        """Run code instead, in a folder."""
        return self.start(folder, code=code).wait()


class Command:
    """One that has begun, with its process id ``pid``."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        self.runs = True
        self.files: list[str] = []
        for _ in range(2):
            number, path = tempfile.mkstemp()
            os.close(number)
            self.files.append(path)

    def interrupt(self) -> None:
        """Press Ctrl-C, which goes to all processes of a terminal."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end. Negative statuses are signals, as everywhere."""
        status = int(self.status())
        self.runs = False
        said = [Path(path).read_text() for path in self.files]
        for path in self.files:
            Path(path).unlink()
        return subprocess.CompletedProcess(self._arguments, status, *said)
