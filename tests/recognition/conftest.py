"""Networks are small, but where a test file says otherwise."""

from small_networks import small_networks

__all__ = ["small_networks"]
