"""Prefect flows: the only place where flows and tasks are written. A task is one call of the library on one shard."""
