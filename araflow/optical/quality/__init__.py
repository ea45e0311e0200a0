"""optical/quality."""
