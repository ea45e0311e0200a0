"""Every deployment, in one list: ``araflow serve`` serves it, and ``prefect.yaml`` is written from it.

Prefect insists on ``FLOW/DEPLOYMENT``: ``prefect deployment run build-hmdb5/local``. ``araflow run build-hmdb5`` takes
the bare name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from araflow.core import spec_file
from araflow.core.errors import SpecError, did_you_mean
from flows.build import ARGUMENTS, build
from flows.executors.workers import RANGES
from flows.server.deployment import Deployment
from flows.server.names import HERE
from flows.train_eval import train_eval

build_folder = build.with_options(name="build-folder")
build_hmdb5 = build.with_options(name="build-hmdb5")
build_hmdb51 = build.with_options(name="build-hmdb51")
build_ucf101 = build.with_options(name="build-ucf101")
build_kinetics400 = build.with_options(name="build-kinetics400")
build_kinetics600 = build.with_options(name="build-kinetics600")
build_kinetics700_2020 = build.with_options(name="build-kinetics700_2020")
build_sample = build.with_options(name="build-sample")
extract_range = RANGES.flow

_WHERE = {
    HERE: "Clips are made on the machine that runs it.",
    "workers": "Clips are made by every machine that polls the work pool.",
    "dask": "Clips are made on the Dask cluster at dask_address.",
}
_WHAT = {"folder": "your own videos, one folder per class,"}
"""What a configuration's videos are called, where not by its name."""


def _all() -> Iterator[Deployment]:
    for attribute, flow in list(globals().items()):
        if not attribute.startswith("build_"):
            continue
        config = flow.name.removeprefix("build-")
        what = _WHAT.get(config, f"the videos of {config}")
        configured = ARGUMENTS.configured(spec_file.load(config))
        for executor, text in _WHERE.items():
            parameters = {"config": config} | ({} if executor == HERE else {"engine": executor})
            about = f"Turn {what} into RGB frames, optical flow and a manifest. {text}"
            yield Deployment(flow, executor, attribute, parameters, about, configured=configured)
    about = "Train a recogniser from a manifest, evaluate it, export it and build its engine."
    yield Deployment(train_eval, HERE, "train_eval", {"spec": "quick"}, about)
    yield RANGES


DEPLOYMENTS: tuple[Deployment, ...] = tuple(_all())


def find(names: Sequence[str]) -> tuple[Deployment, ...]:
    """Return the deployments of these names to be served; those of this machine where there are none.

    Args:
        names: Each ``FLOW`` or ``FLOW/DEPLOYMENT``.

    Raises:
        SpecError: There is no such deployment.
    """
    served = [one for one in DEPLOYMENTS if not one.on_pool]
    here = {one.flow.name: one for one in served if one.where == HERE}
    known = here | {one.full_name: one for one in served}
    for name in names:
        if name not in known:
            raise SpecError(f"no deployment {name!r}; there are {', '.join(here)}{did_you_mean(name, sorted(known))}")
    return tuple(known[name] for name in dict.fromkeys(names)) or tuple(here.values())


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
