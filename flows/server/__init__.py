"""Prefect's server: the embedded one, one of the user's own, and the settings of both.

The settings hold only where they are applied before Prefect is imported; so nothing is imported here.
"""
