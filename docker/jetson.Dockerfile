# A recipe for Jetson Orin with JetPack 6 (Ubuntu 22.04). Never built, and never run on a Jetson; every pinned package
# of araflow was found to have a wheel for aarch64 and Python 3.11, and that is all that is known.
#
#   docker build --tag araflow:jetson --file docker/jetson.Dockerfile .       # on the Jetson
#   docker run --rm --init --runtime nvidia araflow:jetson doctor             # says whether vpi is there, and if not, why
#   docker run --rm --init --runtime nvidia -v araflow:/work araflow:jetson build sample optical.backend=vpi
#
# Two Pythons: araflow's own, 3.11, and the system's, 3.10, which is the only one that NVIDIA builds its module vpi for.
# araflow starts a process of the latter for each clip. Where the package python3.10-vpi3 cannot be had in the
# image, give it the host's module:
#   -v /usr/lib/python3/dist-packages/vpi.cpython-310-aarch64-linux-gnu.so:/usr/lib/python3/dist-packages/vpi.cpython-310-aarch64-linux-gnu.so:ro
#
# What it has: builds, with vpi or on the CPU. What it has not: recognisers. JetPack 6 has TensorRT's Python module for
# 3.10 alone, so engines are built by trtexec (docs/deploy.md).
#
# JetPack 5 (Ubuntu 20.04, Python 3.8) has no package of Python 3.11: install one by other means, araflow into it, and
# leave VPI to /usr/bin/python3.8. JetPack 7 (Ubuntu 24.04) needs no second Python: its 3.12 runs araflow and vpi.

FROM python:3.11.14-slim-bookworm AS wheel

RUN pip install --no-cache-dir hatchling==1.33.0
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY data_manifests data_manifests
COPY araflow araflow
COPY flows flows
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist .


FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libarchive-tools python3-numpy python3.10-vpi3 python3.11 python3.11-venv unar \
    && rm -rf /var/lib/apt/lists/* \
    && python3.11 -m venv /opt/araflow \
    && useradd --uid 1000 --gid 0 --groups video --create-home araflow \
    && mkdir /work /prefect \
    && chown araflow:0 /work /prefect \
    && chmod g=u /home/araflow /work /prefect

ENV HOME=/home/araflow \
    PATH=/opt/araflow/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ARAFLOW_VPI_PYTHON=/usr/bin/python3.10 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all \
    PREFECT_HOME=/prefect \
    DO_NOT_TRACK=1

RUN --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/src/constraints.txt \
    --mount=type=bind,source=docker/requirements.py,target=/src/requirements.py \
    python /src/requirements.py /src/pyproject.toml fast > /tmp/requirements.txt \
    && pip install --no-cache-dir --constraint /src/constraints.txt --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --no-deps /dist/*.whl

COPY --chmod=755 docker/entrypoint.sh /usr/local/bin/araflow-entrypoint
VOLUME ["/prefect"]
WORKDIR /work
USER 1000
ENTRYPOINT ["araflow-entrypoint"]
CMD ["--help"]
