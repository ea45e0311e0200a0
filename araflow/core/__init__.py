"""What a clip, a specification, an error and a whole file are.

Others use: ``clip``, ``listing`` (clips, and what became none), ``spec`` (of a build; ``spec_file`` reads it from
YAML), ``errors`` (all that are raised on purpose), ``files`` (written whole or not at all), ``written`` (and replaced
only if they are araflow's), ``splits``, ``table``, ``tally`` and ``words`` (what people are shown), ``telling`` (how
much of it), ``reading`` (files that may come from anywhere), ``fingerprint``, ``installed``, ``json_log``,
``processes`` and ``resources`` (shipped files, plug-ins, the cache).

May import nothing of araflow.
"""

__all__ = [
    "addresses",
    "clip",
    "errors",
    "files",
    "fingerprint",
    "installed",
    "json_log",
    "keys",
    "kinds",
    "leakage",
    "listing",
    "processes",
    "reading",
    "resources",
    "screen",
    "signature",
    "spec",
    "spec_file",
    "spelling",
    "splits",
    "table",
    "tally",
    "telling",
    "words",
    "written",
]
