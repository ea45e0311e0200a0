"""Dockerfiles read as far as ours go, and their install steps run without Docker, in an environment of their own."""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from docker.utils.build import exclude_paths


@dataclasses.dataclass(frozen=True)
class Stage:
    base: str
    name: str
    steps: tuple[tuple[str, str], ...]
    """Instruction and the rest of it, without continuations and comments."""


def stages(file: Path) -> dict[str, Stage]:
    """By name, in order; a stage without a name is ``final``."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        keyword, rest = line.split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = re.fullmatch(r"(\S+)( AS (\S+))?", rest).groups()
            stage = Stage(base, name or "final", ())
        else:
            stage = dataclasses.replace(stage, steps=(*stage.steps, (keyword, rest)))
        found[stage.name] = stage
    return found


def chain(found: Mapping[str, Stage], name: str) -> list[Stage]:
    """A stage with those that it stands on, the lowest first."""
    stage = found[name]
    return [*chain(found, stage.base), stage] if stage.base in found else [stage]


def pairs(rest: str) -> dict[str, str]:
    """What ENV or ARG sets."""
    return dict(item.split("=", 1) for item in shlex.split(rest) if "=" in item)


def mounts(rest: str) -> Iterator[dict[str, str]]:
    """The bind mounts of a RUN."""
    for flags in re.findall(r"--mount=(\S+)", rest):
        options = dict(item.split("=", 1) for item in flags.split(","))
        assert options.pop("type") == "bind", flags
        yield options


def context(root: Path, into: Path) -> None:
    """Copy what Docker would see of a folder: all that .dockerignore lets through, by Docker's own Python library."""
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line.strip() and not line.startswith("#")]
    for path in exclude_paths(str(root), patterns):
        if (root / path).is_file() and path not in {".dockerignore", "Dockerfile"}:  # sent, but not to be copied
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, into / path)


class Machine:
    """Runs the install steps of stages: Python's alone, in a fresh environment; the system's packages are passed over.

    Args:
        folder: Stands for the image's root. The environment is ``venv`` in it.
        context: What ``COPY`` and mounts take from.
        arguments: Build arguments, in place of the Dockerfile's.
    """

    SYSTEM = ("apt-get", "useradd")
    """First words of the steps that are passed over."""

    def __init__(self, folder: Path, context: Path, arguments: Mapping[str, str]) -> None:
        self.folder, self._context, self._given = folder, context, arguments
        self.passed_over: list[str] = []
        self._variables: dict[str, str] = {}
        self._at = "/"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=300)

    @property
    def environment(self) -> dict[str, str]:
        """Of this machine only what finds the package index."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PIP_", "SSL_")) or "proxy" in name.lower()
        }
        return kept | self._variables | {"PATH": f"{self.folder / 'venv/bin'}:{os.defpath}", "HOME": str(self.folder)}

    def build(self, stage: Stage, others: Mapping[str, "Machine"]) -> None:
        for keyword, rest in stage.steps:
            if keyword in {"ENV", "ARG"}:
                given = self._given if keyword == "ARG" else {}
                self._variables |= {name: given.get(name, value) for name, value in pairs(rest).items()}
            elif keyword == "WORKDIR":
                self._at = rest
                self._here(rest).mkdir(parents=True, exist_ok=True)
            elif keyword == "COPY":
                *sources, target = (word for word in shlex.split(rest) if not word.startswith("--"))
                for source in sources:
                    self._put(self._context / source, self._here(target), folder=target.endswith("/"))
            elif keyword == "RUN":
                self._run(rest, others)

    def _run(self, rest: str, others: Mapping[str, "Machine"]) -> None:
        for mount in mounts(rest):
            start = others[mount["from"]].folder if "from" in mount else self._context
            self._put(start / mount["source"].lstrip("/"), self._here(mount["target"]), folder=False)
        command = re.sub(r"--mount=\S+\s*", "", rest)
        if command.startswith(self.SYSTEM):
            self.passed_over.append(command)
            return
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = re.sub(r"(?<![\w./])/(src|dist|tmp)\b", rf"{self.folder}/\1", command)
        run = subprocess.run(
            ["sh", "-ec", command],
            cwd=self._here("."),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
            check=False,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}"

    def _here(self, path: str) -> Path:
        return self.folder / os.path.normpath(f"{self._at}/{path}" if not path.startswith("/") else path).lstrip("/")

    def _put(self, source: Path, target: Path, *, folder: bool) -> None:
        assert source.exists(), f"{source.name} is not in the build context: .dockerignore keeps it back"
        target = target / source.name if folder else target
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
