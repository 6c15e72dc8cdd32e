"""Sweeps: a grid of recipes, several runs at a time, into one store."""
