"""Prefect's server: the one of a command, one of the user's own, and the settings of both.

``history`` says where a command's history goes: to a server that answers (``reach``, and ``whose`` it is), or to one of
the command's own (``embedded``, which runs ``attached``). ``own`` is ``araflow up``: it runs ``standing``, and keeps
address and password in Prefect's ``profile``. Both processes answer behind ``guarded``, with a ``password``. ``lines``
makes log lines fit to be seen, ``runs`` asks for runs, ``deployment`` is a flow under a name.

The settings hold only where they are applied before Prefect is imported; so nothing is imported here.
"""
