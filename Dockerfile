# Images of araflow. Never built where araflow is made, which has no Docker engine: this file is linted there, and its
# install steps are run in a clean environment (tests/test_docker.py).
#
#   docker build --tag araflow:cpu .                        # the last stage
#   docker build --tag araflow:gpu --target gpu .
#   docker run --rm --init -v araflow:/work araflow:cpu build sample
#
# /work holds what is made (data/, runs/). For a folder of your own: -v "$PWD:/work" --user "$(id -u):0"
# There is no HEALTHCHECK: most containers run one command and end. compose.yaml has those of the services.

FROM python:3.11.14-slim-bookworm AS base

# For members of RAR archives that are compressed.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libarchive-tools unar \
    && rm -rf /var/lib/apt/lists/*

# Any user of group 0 may write: the one of --user, and the arbitrary ones that some clusters use.
RUN useradd --uid 1000 --gid 0 --create-home araflow \
    && mkdir /work /prefect \
    && chown araflow:0 /work /prefect \
    && chmod g=u /home/araflow /work /prefect

ENV HOME=/home/araflow \
    PYTHONUNBUFFERED=1 \
    PREFECT_HOME=/prefect \
    # Prefect's server copies its user interface to where its program lies, unless it is told another place.
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect-ui \
    # From here on as in flows/server/settings.py, for commands of Prefect's own.
    DO_NOT_TRACK=1 \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    PREFECT_LOGGING_EXTRA_LOGGERS=araflow \
    PREFECT_LOGGING_HANDLERS_API_CLASS=flows.server.lines.History \
    PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS=flows.server.lines.Console \
    PREFECT_LOGGING_HANDLERS_DEBUG_CLASS=flows.server.lines.Console \
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW=ignore \
    PREFECT_RUNNER_POLL_FREQUENCY=3 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=600 \
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE=100 \
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE=100 \
    PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false \
    PREFECT_WORKER_QUERY_SECONDS=3

# What araflow needs, without araflow: editing its code leaves this layer as it is. Files are mounted, not copied.
RUN --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/src/constraints.txt \
    --mount=type=bind,source=docker/requirements.py,target=/src/requirements.py \
    python /src/requirements.py /src/pyproject.toml > /tmp/requirements.txt \
    && pip install --no-cache-dir --constraint /src/constraints.txt --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

COPY --chmod=755 docker/entrypoint.sh /usr/local/bin/araflow-entrypoint
VOLUME ["/prefect"]
WORKDIR /work
ENTRYPOINT ["araflow-entrypoint"]
CMD ["--help"]


FROM base AS wheel

RUN pip install --no-cache-dir hatchling==1.33.0
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY data_manifests data_manifests
COPY araflow araflow
COPY flows flows
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist .


# Not on an image of NVIDIA's: PyTorch's wheels bring CUDA, and the NVIDIA Container Toolkit brings the driver's
# libraries, which an image must not hold. CUDA once more would be gigabytes, and their Python another one than is tested.
FROM base AS gpu

# `video` brings the libraries of the optical-flow engine and the decoder, which `compute` does not.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

# PyTorch for CUDA 12.9, since drivers from 525 on run it. Another: --build-arg TORCH_INDEX=…/whl/cu130
ARG EXTRAS=dask,export,fast,s3
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu129
RUN --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/src/constraints.txt \
    --mount=type=bind,source=docker/requirements.py,target=/src/requirements.py \
    python /src/requirements.py /src/pyproject.toml "$EXTRAS" > /tmp/requirements.txt \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" \
        --constraint /src/constraints.txt --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

# Under NVIDIA's own licence, so only where it is asked for: --build-arg TENSORRT='tensorrt-cu12==10.*'
ARG TENSORRT=
# hadolint ignore=DL3013
RUN if [ -n "$TENSORRT" ]; then \
        pip install --no-cache-dir --extra-index-url https://pypi.nvidia.com "$TENSORRT"; \
    fi

RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --no-deps /dist/*.whl
USER 1000


FROM base AS cpu

# To train on a CPU: --build-arg EXTRAS=dask,export,fast,s3 (PyTorch without CUDA comes from TORCH_INDEX)
ARG EXTRAS=dask,fast,s3
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/src/constraints.txt \
    --mount=type=bind,source=docker/requirements.py,target=/src/requirements.py \
    python /src/requirements.py /src/pyproject.toml "$EXTRAS" > /tmp/requirements.txt \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" \
        --constraint /src/constraints.txt --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --no-deps /dist/*.whl
USER 1000
