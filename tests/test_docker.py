"""The images and the compose file, as far as that goes without Docker: linted, read, and their install steps run."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import dockerfile
import prefect.settings
import pytest
import yaml

from flows.server import settings

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "Dockerfile", ROOT / "docker" / "jetson.Dockerfile"]
STAGES = dockerfile.stages(ROOT / "Dockerfile")
COMPOSE = [ROOT / "compose.yaml", ROOT / "compose.gpu.yaml"]
CLUSTER = (ROOT / "docs" / "cluster.md").read_text()
SERVICES = yaml.safe_load(COMPOSE[0].read_text())["services"]


def by_name(name: str) -> str:
    """A program of this environment, which need not be active."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


def steps(name: str, keyword: str) -> list[str]:
    return [rest for stage in dockerfile.chain(STAGES, name) for word, rest in stage.steps if word == keyword]


def environment_of(name: str) -> dict[str, str]:
    return {key: value for rest in steps(name, "ENV") for key, value in dockerfile.pairs(rest).items()}


@pytest.mark.hadolint
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_hadolint_has_nothing_to_say(file: Path):
    run = subprocess.run([by_name("hadolint"), str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_says_that_it_was_never_built(file: Path):
    assert "Never built" in file.read_text()[:300]


def test_the_default_image_is_the_one_for_cpus():
    assert list(STAGES)[-1] == "cpu"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_images_that_others_make_have_a_version(file: Path):
    found = dockerfile.stages(file)
    assert all(re.search(r":\D?\d+\.\d+", stage.base) for stage in found.values() if stage.base not in found)
    assert re.search(r":\d+\.\d+-", SERVICES["postgres"]["image"])


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_it_runs_as_a_user_whose_number_says_that_it_is_not_root(name: str):
    assert int(steps(name, "USER")[-1]) > 0


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_change_of_code_leaves_the_packages_installed(name: str):
    """Docker keeps a layer while nothing before it has changed: packages come from three files."""
    taken, needed = set(), set()
    for stage in dockerfile.chain(STAGES, name):
        for keyword, rest in stage.steps:
            if keyword == "RUN":
                taken |= {mount["source"] for mount in dockerfile.mounts(rest)}
            elif keyword == "COPY":
                taken |= {word for word in rest.split()[:-1] if not word.startswith("--")}
            if keyword == "RUN" and "--requirement" in rest:
                needed = set(taken)
    assert needed == {"pyproject.toml", "constraints.txt", "docker/requirements.py"} | (
        {"docker/entrypoint.sh"} if "docker/entrypoint.sh" in needed else set()
    )
    assert taken - needed == {"/dist"}, "araflow itself comes last, and only as a wheel"


def test_prefects_own_commands_find_araflows_settings_in_the_image():
    assert environment_of("cpu").items() >= settings.DEFAULTS.items()


def test_every_prefect_setting_in_use_is_one():
    names = set(environment_of("gpu")) | {name for service in SERVICES.values() for name in service["environment"]}
    # Prefect's own setting of how it logs has any variable of that kind for each of its lines.
    names = {name for name in names if name.startswith("PREFECT_") and "_LOGGING_HANDLERS_" not in name}
    assert len(names) > 12
    assert [name for name in names if not hasattr(prefect.settings, name)] == []
    assert not hasattr(prefect.settings, "PREFECT_SERVER_DATABASE_HOSTS"), "so that this can fail"


def test_the_driver_of_a_gpu_brings_its_video_engines():
    assert "video" in environment_of("gpu")["NVIDIA_DRIVER_CAPABILITIES"].split(",")


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_extras_of_an_image_exist(name: str):
    arguments = {key: value for rest in steps(name, "ARG") for key, value in dockerfile.pairs(rest).items()}
    command = [sys.executable, ROOT / "docker" / "requirements.py", ROOT / "pyproject.toml", arguments["EXTRAS"]]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert any(line.startswith("prefect-dask") for line in listed)
    assert any(line.startswith("torch") for line in listed) == (name == "gpu")
    assert not any(line.startswith("araflow") for line in listed)
    command[-1] = "dask,nonsense"
    wrong = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("no extra 'nonsense'; there are fast, ")


def test_nothing_of_the_users_own_gets_into_an_image(tmp_path: Path):
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    allowed = ["araflow/cli.py", "flows/build.py", "configs/hmdb5.yaml", "pyproject.toml", "docker/entrypoint.sh"]
    private = [".env", ".git/config", "data/a.avi", "runs/a", ".venv/a", "araflow/__pycache__/a.pyc", "tests/a.py"]
    for name in allowed + private:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    dockerfile.context(tmp_path, tmp_path / "seen")
    seen = {path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen").rglob("*") if path.is_file()}
    assert seen == set(allowed)


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ([], "araflow"),
        (["build", "sample"], "araflow build sample"),
        (["prefect", "flow-run", "execute"], "prefect flow-run execute"),
        (["dask-worker", "--name", "a b"], "dask worker --name a b"),
        (["dask", "scheduler"], "dask scheduler"),
    ],
)
def test_the_entry_point_runs_araflow_or_what_a_cluster_starts(tmp_path: Path, given: list[str], run: str):
    for name in ("araflow", "prefect", "dask"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"; exit 7\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.defpath}"
    command = [ROOT / "docker" / "entrypoint.sh", *given]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (7, run)


@pytest.mark.compose
@pytest.mark.parametrize("files", [COMPOSE[:1], COMPOSE], ids=["cpu", "gpu"])
def test_compose_takes_the_files(files: list[Path], tmp_path: Path):
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = ["docker-compose", *(f"--file={file}" for file in files), "config", "--quiet"]
    empty = tmp_path / "env"
    empty.write_text("")
    command[1:1] = [f"--env-file={empty}"]

    def config(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=given | more, capture_output=True, text=True, timeout=60, check=False)

    secrets = {"POSTGRES_PASSWORD": "secret", "PREFECT_AUTH": "araflow:secret"}
    run = config(**secrets)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
    for name in secrets:
        for nothing in ({}, {name: ""}):
            without = config(**{other: value for other, value in secrets.items() if other != name} | nothing)
            assert without.returncode == 1
            assert f"{name}" in without.stderr and "write one into .env, see .env.example" in without.stderr


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_services_use_stages_services_and_volumes_that_exist(file: Path):
    content = yaml.safe_load(file.read_text())
    volumes = yaml.safe_load(COMPOSE[0].read_text())["volumes"]
    for name, service in content["services"].items():
        assert name in SERVICES
        if "build" in service:
            assert service["image"] == f"araflow:{service['build']['target']}"
            assert service["build"]["target"] in STAGES
        for other in service.get("depends_on", {}):
            assert "healthcheck" in SERVICES[other], "it waits for health, which nobody would look at"
        for volume in service.get("volumes", []):
            assert volume.replace("${ARAFLOW_WORK:-work}", "work").split(":")[0] in volumes


def test_a_worker_can_be_scaled_and_only_this_machine_is_let_in():
    assert not {"container_name", "ports"} & SERVICES["worker"].keys()
    assert SERVICES["server"]["ports"] == ["${ARAFLOW_LISTEN:-127.0.0.1}:4200:4200"]


@pytest.mark.parametrize(("secret", "names"), [("POSTGRES_PASSWORD", 2), ("PREFECT_AUTH", 3)])
def test_no_service_starts_without_a_password_of_the_users_own(secret: str, names: int):
    services = [service["environment"].items() for service in SERVICES.values() if "environment" in service]
    given = [value for service in services for name, value in service if re.search("PASSWORD|AUTH", name)]
    assert [value for value in given if not value.startswith(("${POSTGRES_PASSWORD:?", "${PREFECT_AUTH:?"))] == []
    assert sum(value.startswith(f"${{{secret}:?") for value in given) == names
    assert re.search(rf"^{secret}=$", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_the_server_listens_to_its_own_pages_alone():
    server = SERVICES["server"]["environment"]
    assert server["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert server["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "${ARAFLOW_UI_URL:-http://127.0.0.1:4200}"


def commands() -> dict[str, set[str]]:
    """Prefect's and araflow's own commands of the services and of docs/cluster.md, with the options that they take."""
    found = [" ".join(service["command"]) for service in SERVICES.values() if "command" in service]
    found += re.findall(r"(?:^|exec |araflow:cpu )((?:prefect|araflow) .+)", CLUSTER.replace("\\\n", " "), re.MULTILINE)
    options: dict[str, set[str]] = {}
    for line in found:
        words = shlex.split(line if line.startswith(("prefect", "araflow")) else f"araflow {line}")
        verbs = " ".join(itertools.takewhile(lambda word: re.fullmatch("[a-z-]+", word) and word[0] != "-", words))
        options.setdefault(verbs, set()).update(word for word in words if re.match("--?[a-z]", word))
    return options


COMMANDS = commands()


@pytest.mark.slow
@pytest.mark.parametrize("verbs", COMMANDS)
def test_commands_of_services_and_of_the_cluster_page_exist_with_their_options(verbs: str, tmp_path: Path):
    program, *more = verbs.split()
    given = os.environ | {"PREFECT_HOME": str(tmp_path)}
    command = [by_name(program), *more, "--help"]
    shown = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert [option for option in COMMANDS[verbs] if not re.search(rf"(^|\s){option}\b", shown.stdout)] == []


def test_the_cluster_pages_settings_exist_and_its_scripts_parse(tmp_path: Path):
    names = set(re.findall(r"PREFECT_[A-Z_]+", CLUSTER))
    assert len(names) > 6
    assert [name for name in names if not hasattr(prefect.settings, name)] == []
    blocks = re.findall(r"```(\w+)\n(.*?)```", CLUSTER, re.DOTALL)
    for kind, text in blocks:
        if kind == "python":
            compile(text, "docs/cluster.md", "exec")
        elif kind == "sh":
            subprocess.run(["bash", "-n"], input=text, text=True, check=True, timeout=60)
    assert {kind for kind, _ in blocks} == {"python", "sh", "sql", "json"}


@pytest.mark.slow
@pytest.mark.network  # two minutes: ARAFLOW_REQUIRE=network; tests/flows/test_readme.py installs araflow, too
def test_the_install_steps_work_in_a_clean_environment_and_araflow_runs_there(tmp_path: Path, need):
    """The stages of the CPU image, without extras, which differ in what is downloaded alone."""
    index = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", tmp_path, "hatchling==1.33.0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if index.returncode:
        need("network", f"no package index answers: {index.stderr.strip().splitlines()[-1]}")
    seen = tmp_path / "context"
    dockerfile.context(ROOT, seen)
    wheel = dockerfile.Machine(tmp_path / "wheel", seen, {})
    wheel.build(STAGES["wheel"], {})
    # PyTorch's index may be out of reach, and without extras there is nothing to take from it.
    (tmp_path / "empty").mkdir()
    image = dockerfile.Machine(tmp_path / "image", seen, {"EXTRAS": "", "TORCH_INDEX": (tmp_path / "empty").as_uri()})
    for stage in dockerfile.chain(STAGES, "cpu"):
        image.build(stage, {"wheel": wheel})
    assert [command.split()[0] for command in image.passed_over] == ["apt-get", "useradd"]

    def run(*command: str) -> str:
        given = image.environment | {"PREFECT_HOME": str(tmp_path / "prefect"), "PATH": f"{image.folder}/venv/bin"}
        words = [f"{image.folder}/venv/bin/{command[0]}", *command[1:]]
        done = subprocess.run(
            words, cwd=image.folder / "work", env=given, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "build" in run("araflow", "--help")
    assert json.loads(run("araflow", "doctor", "--json"))
    where = run("python", "-c", "import flows.build, flows.deployments; print(flows.build.__file__)")
    assert where.startswith(f"{image.folder}/venv/")
    pinned = {line.lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    there = run("python", "-m", "pip", "freeze", "--exclude", "araflow").lower().replace("_", "-").splitlines()
    assert [line for line in there if line not in pinned] == []
