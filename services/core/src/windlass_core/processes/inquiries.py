"""The parent's part in a question that one process asks all: pass it on, gather, answer. Event loop only."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from windlass_core.processes.answers import HEALTH_TOPICS, READY, PodAnswers
from windlass_core.processes.frames import Frame
from windlass_core.processes.process import Process


def is_ready(answer: Frame) -> bool:
    """Whether a process has answered the question of READY with no reason against it."""
    return answer["kind"] == "answer" and answer["answer"] is None


@dataclass
class _Inquiry:
    asker: Process
    id: int
    topic: str
    missing: set[int]
    answers: dict[str, Any] = field(default_factory=dict)


class Inquiries:
    """Those that are under way."""

    def __init__(self, answers: PodAnswers) -> None:
        self._pod = answers
        self._open: dict[int, _Inquiry] = {}
        self._numbers = count()

    def ask(self, asker: Process, frame: Frame, processes: Iterable[Process]) -> None:
        """Put the question of `frame` to all processes; whoever has not answered after its seconds is left out.

        Questions of health, which a kubelet or Prometheus waits for, do not wait for a process that is silent already.
        """
        number = next(self._numbers)
        asked = list(processes)
        waits = [process for process in asked if process.pulse.answers or frame["topic"] not in HEALTH_TOPICS]
        self._open[number] = _Inquiry(asker, frame["id"], frame["topic"], {process.number for process in waits})
        for process in asked:
            process.say({"kind": "question", "id": number, "topic": frame["topic"], "document": frame["document"]})
        asyncio.get_running_loop().call_later(frame["seconds"], self._conclude, number)

    def answered(self, process: Process, frame: Frame) -> None:
        """A process has answered, or said that it cannot."""
        if inquiry := self._open.get(frame["id"]):
            if inquiry.topic == READY:
                # Known before the pod is said to be ready: who then connects finds all its processes alike.
                process.ready = is_ready(frame)
            if frame["kind"] == "answer":
                inquiry.answers[str(process.number)] = frame["answer"]
            self._without(frame["id"], inquiry, process.number)

    def ended(self, process: Process) -> None:
        """A process has ended; nobody waits for its answers, and what it has said of its state is true no more."""
        for number, inquiry in list(self._open.items()):
            inquiry.answers.pop(str(process.number), None)
            self._without(number, inquiry, process.number)

    def _without(self, number: int, inquiry: _Inquiry, process: int) -> None:
        inquiry.missing.discard(process)
        if not inquiry.missing:
            self._conclude(number)

    def _conclude(self, number: int) -> None:
        if inquiry := self._open.pop(number, None):
            answer = self._pod.of(inquiry.topic, inquiry.answers)
            inquiry.asker.say({"kind": "answers", "id": inquiry.id, "answer": answer})
