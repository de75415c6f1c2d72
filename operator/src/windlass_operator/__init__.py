"""Turns the four Windlass kinds into Kubernetes objects, and what happened to those into status."""
