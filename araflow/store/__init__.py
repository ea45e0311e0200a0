"""The output: clips' folders, their records, the manifest; in a folder or in object storage.

Others use: ``address`` (from what a user typed to what lies there), ``store`` (what is kept, committed, retired and
swept), ``place`` (where it lies), ``draft`` (a clip that is being written), ``layout`` (names of files),
``ownership`` (which of them are araflow's), ``manifest``, ``audit`` (files against rows), ``checks`` (of one clip),
``differences`` and ``summary`` (of manifests).

May import ``core`` and ``media``.
"""

__all__ = [
    "address",
    "audit",
    "checks",
    "differences",
    "draft",
    "duplicates",
    "layout",
    "lease",
    "listing",
    "local",
    "manifest",
    "ownership",
    "place",
    "remote",
    "store",
    "summary",
]
