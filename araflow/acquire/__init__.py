"""Bytes from elsewhere: downloaded, unpacked, sorted into a dataset's folder. Knows no dataset.

Others use: ``fetch`` (one file), ``archives``, ``ingest`` (archives within archives, in any layout), ``registry``
(what is known of each dataset) and ``terms`` (under which it is had), ``folder``, ``notes`` and ``statuses`` (a
dataset's folder and what is on record there), ``placed`` (which of its files are araflow's), ``sources`` and ``whole``
(what a user has; a dataset in one piece), ``counted`` (what of it has no place), ``tree`` (every file in a folder, by
kind), ``obtain`` (what ``araflow fetch`` runs), ``types``.

May import ``core`` and ``media``.
"""

__all__ = [
    "archives",
    "counted",
    "fetch",
    "folder",
    "ingest",
    "notes",
    "obtain",
    "placed",
    "registry",
    "sources",
    "statuses",
    "terms",
    "tree",
    "types",
    "walk",
    "whole",
]
