"""The vocabulary that the operator and the services share. It knows no cluster, no torch and no service."""

__version__ = "0.1.0"
