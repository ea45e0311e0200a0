"""Every deployment, in one list: ``araflow serve`` serves it, and ``prefect.yaml`` is written from it.

Prefect insists on ``FLOW/DEPLOYMENT``: ``prefect deployment run build-hmdb5/local``. ``araflow run build-hmdb5`` takes
the bare name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from araflow.core.errors import SpecError, did_you_mean
from flows.build import build
from flows.executors.workers import extract_range
from flows.server import settings
from flows.train_eval import train_eval

build_sample = build.with_options(name="build-sample")
build_hmdb5 = build.with_options(name="build-hmdb5")
build_hmdb51 = build.with_options(name="build-hmdb51")
build_ucf101 = build.with_options(name="build-ucf101")
build_kinetics400 = build.with_options(name="build-kinetics400")
build_kinetics600 = build.with_options(name="build-kinetics600")
build_kinetics700_2020 = build.with_options(name="build-kinetics700_2020")

_ENGINES = {
    "local": "Clips are made on the machine that runs it.",
    "workers": "Clips are made by every machine that polls the work pool.",
    "dask": "Clips are made on the Dask cluster at dask_address.",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """A flow under a name, with the arguments that make it what the name says.

    Attributes:
        flow: The flow.
        name: Name of the deployment.
        attribute: Name of the flow in this module.
        parameters: Arguments that are set; a run may set them otherwise.
        description: What the UI says.
        on_pool: It runs on the work pool, and is not served.
    """

    flow: Flow[..., Any]
    name: str
    attribute: str
    parameters: dict[str, Any]
    description: str
    on_pool: bool = False

    @property
    def full_name(self) -> str:
        """Flow and deployment, as Prefect wants it."""
        return f"{self.flow.name}/{self.name}"

    def for_runner(self) -> RunnerDeployment:
        """Return what Prefect serves, or registers with a work pool."""
        deployment = RunnerDeployment.from_flow(
            self.flow,
            self.name,
            parameters=self.parameters,
            description=self.description,
            tags=[settings.TAG],
            entrypoint_type=EntrypointType.MODULE_PATH,
            work_pool_name=settings.POOL if self.on_pool else None,
            job_variables={"env": settings.FOR_RUNS} if self.on_pool else None,
        )
        # Prefect would send its defaults for these, and with them undo what the user has set in the UI.
        deployment.model_fields_set.difference_update({"schedules", "paused"})
        deployment.entrypoint = f"{__name__}.{self.attribute}"  # Prefect takes the function's own name
        return deployment

    def for_file(self) -> dict[str, Any]:
        """Return the entry of ``prefect.yaml``."""
        return {
            "name": self.name,
            "description": self.description,
            "tags": [settings.TAG],
            "entrypoint": f"flows/deployments.py:{self.attribute}",
            "parameters": self.parameters,
            "work_pool": {"name": settings.POOL, "job_variables": {"env": settings.FOR_RUNS}},
        }


def _all() -> Iterator[Deployment]:
    for attribute, flow in list(globals().items()):
        if not attribute.startswith("build_"):
            continue
        config = flow.name.removeprefix("build-")
        for engine, text in _ENGINES.items():
            parameters = {"config": config} | ({} if engine == "local" else {"engine": engine})
            about = f"Turn a dataset's videos into RGB frames, optical flow and a manifest. {text}"
            yield Deployment(flow, engine, attribute, parameters, about)
    about = "Train a recogniser from a manifest, evaluate it, export it and build its engine."
    yield Deployment(train_eval, "local", "train_eval", {"spec": "sample_flow"}, about)
    about = "A range of clips of a build with engine workers, which starts it."
    yield Deployment(extract_range, "workers", "extract_range", {}, about, on_pool=True)


DEPLOYMENTS: tuple[Deployment, ...] = tuple(_all())


def find(names: Sequence[str]) -> tuple[Deployment, ...]:
    """Return the deployments of these names; all where there are none.

    Args:
        names: Each ``FLOW`` or ``FLOW/DEPLOYMENT``.

    Raises:
        SpecError: There is no such deployment.
    """
    if not names:
        return DEPLOYMENTS
    known = {one.full_name for one in DEPLOYMENTS} | {one.flow.name for one in DEPLOYMENTS}
    for name in names:
        if name not in known:
            shown = ", ".join(dict.fromkeys(one.flow.name for one in DEPLOYMENTS))
            raise SpecError(f"no deployment {name!r}; there are {shown}{did_you_mean(name, sorted(known))}")
    return tuple(one for one in DEPLOYMENTS if one.on_pool or {one.full_name, one.flow.name} & set(names))


def prefect_yaml() -> str:
    """Return the text of ``prefect.yaml``."""
    import yaml

    head = "# Written by `make schema` from the list in flows/deployments.py. See docs/operations.md.\n"
    content = {"name": "araflow", "deployments": [one.for_file() for one in DEPLOYMENTS]}
    return head + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    import sys
    from pathlib import Path

    file = Path(__file__).resolve().parents[1] / "prefect.yaml"
    if "--check" not in sys.argv:
        file.write_text(prefect_yaml(), encoding="utf-8")
    elif not file.is_file() or file.read_text(encoding="utf-8") != prefect_yaml():
        sys.exit(f"{file} is out of date: run `make schema`")
