"""Sweeps: run a grid of recipes into one store, several runs at a time."""
