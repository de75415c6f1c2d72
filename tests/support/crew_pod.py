"""A pod of several processes with a small application: `python crew_pod.py PORT COUNT`."""

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from windlass_core import log
from windlass_core.errors import WindlassError
from windlass_core.listening import listen
from windlass_core.processes.crew import Crew, join
from windlass_core.processes.supervisor import supervise

if TYPE_CHECKING:
    from windlass_core.direct import DirectRequest

LOOPBACK = "127.0.0.1"
DRAIN_DELAY_SECONDS = 0.5
# Environment: seconds of silence after which a process is ended. By default longer than any turn on a machine that is busy.
HANG = "CREW_POD_HANG"
HANG_SECONDS = 60.0
# Environment: a file; while it exists, processes that start end at once with the code that it holds.
END_FILE = "CREW_POD_END_FILE"


def application(crew: Crew) -> Any:
    from windlass_core.serving import create_app  # what a parent does not need, nor a process that ends at once

    not_ready: dict[str, str | None] = {"why": None}
    app = create_app("crew", ready=lambda: not_ready["why"], crew=crew)
    me = {"number": crew.number, "pid": os.getpid()}
    crew.answer("who", lambda _: me)

    def change(asked: dict[str, Any]) -> None:
        if asked["number"] == crew.number:
            not_ready["why"] = asked["why"]
            crew.say_whether_ready()

    crew.answer("ready of one", change)
    crew.answer("raise of one", lambda number: 1 // (crew.number - number))

    def direct(request: "DirectRequest") -> bool:
        request.reply(200, b"", str(crew.number).encode())
        return True

    def refused_by_first(request: "DirectRequest") -> bool:
        request.reply(429 if crew.number == 0 else 200, b"", str(crew.number).encode())
        return True

    app.state.direct.handlers |= {b"/number": direct, b"/refused-by-first": refused_by_first}

    @app.get("/who")
    async def who() -> dict[str, int]:
        return me

    @app.get("/all")
    async def everybody() -> Any:
        return await crew.ask("who")

    @app.post("/ask/{topic}")
    async def ask(topic: str, document: Any) -> Any:
        return await crew.ask(topic, document, seconds=2)

    @app.post("/not-ready/{number}")
    async def say_not_ready(number: int, why: str | None = None) -> None:
        await crew.ask("ready of one", {"number": number, "why": why})

    @app.get("/raise/{number}")
    async def raise_in_one(number: int) -> Any:
        return await crew.ask("raise of one", number)

    @app.post("/end/{code}")
    async def end(code: int) -> None:
        os._exit(code)

    @app.get("/slow")
    async def slow(seconds: float) -> dict[str, int]:
        await asyncio.sleep(seconds)
        return me

    return app


def main() -> int:
    log.configure("crew-pod")
    port, count = int(sys.argv[1]), int(sys.argv[2])
    crew = join()
    if crew.number == 0 and type(crew) is Crew:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            program = [sys.executable, *sys.argv]
            listener = listen(LOOPBACK, port)
            hang = float(os.environ.get(HANG, HANG_SECONDS))
            return supervise(program, count, listener, drain_delay=DRAIN_DELAY_SECONDS, hang=hang)
        except WindlassError as error:
            print(error.reason, error.message, file=sys.stderr, flush=True)
            return error.exit_code
    end_file = os.environ.get(END_FILE, "")
    if end_file and os.path.exists(end_file):  # noqa: PTH110
        with open(end_file) as file:  # noqa: PTH123
            return int(file.read())
    from windlass_core.serving import serve

    serve(application(crew), drain_delay=DRAIN_DELAY_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
