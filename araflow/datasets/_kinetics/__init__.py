"""datasets/_kinetics."""
