"""Clips in, records out: the stages, the processes that do the work, and what is known of a build afterwards.

Others use: ``resolved`` (a build whose settings are checked), ``run`` (all of it without Prefect), ``stages`` and
``shards`` (its steps), ``extract`` (one pass over one clip), ``pool`` (worker processes), ``portions`` (datasets that
come in parts), ``plan`` (what a build would make), ``note``, ``outputs`` and ``status`` (how far it is), ``retry``
and ``clean``.

May import ``datasets`` and what lies below it; not ``recognition``, ``report`` or ``exports``.
"""

__all__ = [
    "clean",
    "extract",
    "note",
    "outputs",
    "plan",
    "pool",
    "portions",
    "recipe",
    "resolved",
    "retry",
    "run",
    "selection",
    "shards",
    "stages",
    "status",
    "theirs",
    "unchanged",
]
