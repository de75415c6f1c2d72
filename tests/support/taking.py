"""A process of a pod that takes connections and ends when no more come: `python taking.py MANNER`.

With the manner `answer` it says its number on each and closes it, with `keep` it only keeps them.
"""

import asyncio
import socket
import sys
from contextlib import suppress

from windlass_core.processes.crew import LAST_SECONDS, WorkerCrew, join


async def take(crew: WorkerCrew, *, answer: bool) -> None:
    """Until the supervisor has said that it gives no more."""
    kept = []

    def connected(connection: socket.socket) -> None:
        if answer:
            connection.send(str(crew.number).encode())
            connection.close()
        else:
            kept.append(connection)

    await crew.begin(connected)
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(crew.took_all(), LAST_SECONDS / 2)  # by itself it ends without the word too
            return


def main() -> None:
    crew = join()
    assert isinstance(crew, WorkerCrew)
    asyncio.run(take(crew, answer=sys.argv[1] == "answer"))


if __name__ == "__main__":
    main()
