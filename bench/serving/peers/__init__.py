"""Servers to compare with, each in the way its own documentation shows, around the same eager torch model."""
