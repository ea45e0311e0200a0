#!/bin/sh
# What a container of araflow runs: araflow's commands by their bare name, and what clusters start by its full one.
# Kubernetes workers of Prefect give `prefect flow-run execute`; Dask's operator gives dask-scheduler and dask-worker,
# programs that Dask itself no longer has.
case "${1-}" in
    dask-*)
        program=${1#dask-}
        shift
        exec dask "$program" "$@"
        ;;
    dask | prefect | python | sh | bash) exec "$@" ;;
    *) exec araflow "$@" ;;
esac
