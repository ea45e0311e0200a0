"""Prefect flows: the only place where flows and tasks are written. Each task is one call of the library on one shard."""
