"""optical/backends/_tvl1."""
