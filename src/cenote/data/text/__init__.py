"""Texts: reading them, splitting them into tokens, and turning them into arrays."""
