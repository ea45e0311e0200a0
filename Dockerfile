# CPU image: docker build -t araflow . && docker run --rm -v "$PWD/data:/home/araflow/data" araflow build sample
# The GPU stage comes with the GPU backends.
FROM python:3.11-slim AS base

ENV PYTHONUNBUFFERED=1 \
    # Run history; mount a volume here to keep it.
    PREFECT_HOME=/prefect \
    DO_NOT_TRACK=1

# For RAR members that are compressed.
RUN apt-get update && apt-get install -y --no-install-recommends unar libarchive-tools && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY araflow araflow
COPY flows flows
COPY configs configs
COPY data_manifests data_manifests
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && useradd --create-home araflow \
    && mkdir -p /home/araflow/data /prefect \
    && chown -R araflow /home/araflow /prefect

USER araflow
WORKDIR /home/araflow
ENTRYPOINT ["araflow"]
CMD ["--help"]
