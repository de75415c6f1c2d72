"""A process of a pod that takes connections and ends when no more come: `python taking.py MANNER`.

With the manner `answer` it says its number on each and closes it, with `keep` it only keeps them, and with `give` it says
nothing, keeps them, says that it is busy, and gives all back when others have room.
"""

import asyncio
import socket
import sys
from contextlib import suppress

from windlass_core.processes.crew import LAST_SECONDS, Give, WorkerCrew, join


async def take(crew: WorkerCrew, manner: str) -> None:
    """Until the supervisor has said that it gives no more."""
    kept: list[socket.socket] = []

    def connected(connection: socket.socket) -> None:
        if manner == "answer":
            connection.send(str(crew.number).encode())
            connection.close()
        else:
            kept.append(connection)
        if manner == "give":
            crew.busy(1.0)

    def relieved(give: Give) -> None:
        while kept and give(kept[0]):
            kept.pop(0).close()
            crew.closed()

    await crew.begin(connected, relieved)
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(crew.took_all(), LAST_SECONDS / 2)  # by itself it ends without the word too
            return


def main() -> None:
    crew = join()
    assert isinstance(crew, WorkerCrew)
    asyncio.run(take(crew, sys.argv[1]))


if __name__ == "__main__":
    main()
