"""optical/backends."""
