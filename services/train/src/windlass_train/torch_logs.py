"""Torch's own log lines in our format."""

import logging


def send_torch_logs_to_root() -> None:
    """Torch gives its loggers handlers of their own; without them its records reach the one that log.py has set."""
    for name in ["torch", *logging.root.manager.loggerDict]:
        if name == "torch" or name.startswith("torch."):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
