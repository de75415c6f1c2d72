"""Rows asked for by coroutines: a future of the outputs in the place of a function that is called with them.

Used on the event loop. Knows no protocol, and of lanes only how they are asked.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from windlass_infer.engine import Arrays
from windlass_infer.lanes.computing import Done, Outcome
from windlass_infer.lanes.lane import Ticket
from windlass_infer.lanes.terms import WHENEVER, Terms


class Submit(Protocol):
    """How rows are asked for: `Lane.submit`, or what stands in front of it."""

    def __call__(
        self, inputs: Arrays, rows: int, done: Done, terms: Terms = WHENEVER, *, gone: Callable[[], bool] | None = None
    ) -> Ticket | None:
        """As `Lane.submit`; no ticket when `done` has been called already."""


def ask(submit: Submit, inputs: Arrays, rows: int, terms: Terms = WHENEVER) -> "asyncio.Future[Arrays]":
    """`submit` for coroutines: a future of the outputs; cancelling it takes the request out of the queue.

    Raises:
        Overloaded, Unavailable: as `Lane.submit` does, at once; the future fails as `done` would be told.
    """
    future: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

    def done(outcome: Outcome) -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    ticket = submit(inputs, rows, done, terms, gone=future.cancelled)
    if ticket is not None:
        future.add_done_callback(lambda future: ticket.cancel() if future.cancelled() else None)
    return future
