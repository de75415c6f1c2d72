"""One client of the infer service's application without a socket, and a gate in front of its engine."""

import asyncio
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import orjson
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from windlass_infer.engine import Arrays
from windlass_infer.service import Service

DEADLINE_SECONDS = 10.0
SLOW_SECONDS = 5.0
PREDICT = "/v1/models/service:predict"
INFER = "/v2/models/service/infer"
BODY = orjson.dumps({"instances": [[1, 2, 9]]})
VERSION = {"name": "service", "version": "1"}
SHED_AT_DOOR = VERSION | {"reason": "door"}
GONE = {"type": "http.disconnect"}


@dataclass
class Client:
    """One client of an ASGI application: sends messages, keeps what comes back."""

    app: FastAPI
    path: str = PREDICT
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def ask(self, *messages: dict[str, Any], wait_for: asyncio.Event | None = None) -> "Client":
        """Send the messages; when they are over, keep silent, or leave once `wait_for` is set."""
        pending = iter(messages)

        async def receive() -> Any:
            for message in pending:
                return {"type": "http.request"} | message
            await (wait_for or asyncio.Event()).wait()
            return GONE

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.answer_headers = {key.decode(): value.decode() for key, value in message["headers"]}
            else:
                self.body += message["body"]

        headers = [(key.lower().encode(), value.encode()) for key, value in self.headers.items()]
        scope = {"type": "http", "method": self.method, "path": self.path, "headers": headers, "query_string": b""}
        await self.app(scope, receive, send)
        return self

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class HeldEngine:
    """The real engine behind a gate."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.go = Event()
        self.entered = Event()
        self.rows: list[int] = []
        self.error: Exception | None = None

    def run(self, inputs: Arrays) -> Arrays:
        self.rows.append(len(inputs["features"]))
        self.entered.set()
        assert self.go.wait(DEADLINE_SECONDS)
        if self.error:
            raise self.error
        outputs: Arrays = self.engine.run(inputs)
        return outputs

    def close(self) -> None:
        self.go.set()
        self.engine.close()


@dataclass
class Served:
    app: FastAPI
    service: Service
    registry: CollectorRegistry

    def hold(self) -> HeldEngine:
        """Put a gate in front of the engine."""
        assert self.service.loaded
        lane = self.service.loaded.lane
        held = HeldEngine(lane._computer.engine)
        lane._computer.engine = held  # type: ignore[assignment]
        # As if a batch took seconds, so that it runs on the engine's thread and not on the event loop.
        lane.costs.seconds_per_batch = SLOW_SECONDS
        return held
