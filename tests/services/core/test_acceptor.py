"""A connection is kept by the parent until a process has taken it: those on their way to a process that dies go to another."""

import asyncio
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import pytest
import taking
from children import bound_to_us
from waiting import until_on_loop

from windlass_core.processes.acceptor import Acceptor
from windlass_core.processes.frames import UNTAKEN_AT_MOST, Frame, pass_socket, said_of_sockets
from windlass_core.processes.process import Process
from windlass_core.processes.pulse import Pulse

LOOPBACK = "127.0.0.1"
# A process beside other work takes a quarter of a minute to start.
PATIENCE_SECONDS = 50.0
ANSWER, KEEP, GIVE = "answer", "keep", "give"


until = partial(until_on_loop, seconds=PATIENCE_SECONDS)


class Pod:
    """An acceptor and its processes, in the event loop of the test."""

    def __init__(self, listener: socket.socket, stack: ExitStack) -> None:
        self.address = listener.getsockname()
        self.processes: dict[int, Process] = {}
        self.acceptor = Acceptor(listener, self.processes)
        self._stack = stack

    async def start(self, *manners: str) -> None:
        """A process for each, and accept."""
        for number, manner in enumerate(manners):
            process = await Process.start(number, bound_to_us([sys.executable, taking.__file__, manner]), self.acceptor.hand_on)
            process.pulse.heard()
            self.processes[number] = process
        self.acceptor.resume()

    def ready(self) -> None:
        """All have said that they are ready."""
        for process in self.processes.values():
            process.ready = True

    def signal(self, number: int, what: signal.Signals) -> None:
        self.processes[number].program.send_signal(what)

    async def kill(self, number: int) -> Process:
        """End a process as its supervisor sees it."""
        self.signal(number, signal.SIGKILL)
        process = self.processes.pop(number)
        process.program.wait()
        process.end()
        await process.writer.wait_closed()
        return process

    def clients(self, number: int) -> list[socket.socket]:
        """So many connections."""
        return [self._stack.enter_context(socket.create_connection(self.address)) for _ in range(number)]

    def untaken(self, number: int) -> int:
        return len(self.processes[number].untaken)


async def heard(client: socket.socket) -> bytes:
    """All that comes until the connection ends; a reset is an end too."""
    client.setblocking(False)
    said = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            while piece := await asyncio.get_running_loop().sock_recv(client, 100):
                said += piece
        except ConnectionResetError:
            pass
    return said


@asynccontextmanager
async def new_pod() -> AsyncIterator[Pod]:
    with ExitStack() as stack:
        pod = Pod(stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=1000)), stack)
        try:
            yield pod
        finally:
            for number in list(pod.processes):
                ended = await pod.kill(number)
                for left in ended.untaken:
                    left.close()


async def those_on_their_way_to_a_process_that_dies_are_answered_by_another(pod: Pod) -> None:
    await pod.start(ANSWER, ANSWER)
    pod.signal(0, signal.SIGSTOP)
    clients = pod.clients(8)
    await until(lambda: pod.untaken(0) == 4)
    ended = await pod.kill(0)
    pod.acceptor.hand_on(ended.untaken)
    assert [await heard(client) for client in clients] == [b"1"] * 8


async def the_one_that_takes_the_place_answers_when_there_is_no_other(pod: Pod) -> None:
    await pod.start(ANSWER)
    pod.signal(0, signal.SIGSTOP)
    clients = pod.clients(3)
    await until(lambda: pod.untaken(0) == 3)
    ended = await pod.kill(0)
    pod.acceptor.hand_on(ended.untaken)
    await pod.start(ANSWER)
    assert [await heard(client) for client in clients] == [b"0"] * 3


async def what_a_process_had_taken_ends_with_it(pod: Pod) -> None:
    await pod.start(KEEP, ANSWER)
    clients = pod.clients(2)
    given_to_other = await heard(clients[1])
    await until(lambda: pod.processes[0].connections == 1 and not pod.untaken(0))
    ended = await pod.kill(0)
    pod.acceptor.hand_on(ended.untaken)
    assert (await heard(clients[0]), given_to_other) == (b"", b"1")


async def what_a_process_takes_in_its_last_moment_is_its_own(pod: Pod) -> None:
    await pod.start(KEEP, ANSWER)
    first = pod.clients(1)[0]
    await until(lambda: pod.processes[0].connections == 1 and not pod.untaken(0))
    pod.processes[1].connections = 9  # so that the next is the first one's as well
    pod.signal(0, signal.SIGSTOP)
    second = pod.clients(1)[0]
    await until(lambda: pod.untaken(0) == 1)
    pod.signal(0, signal.SIGCONT)
    # Without a turn of our loop, until what it says of it is there to be read.
    assert pod.processes[0].sockets.recv(1, socket.MSG_PEEK | socket.MSG_WAITALL)
    ended = await pod.kill(0)
    pod.acceptor.hand_on(ended.untaken)
    assert [await heard(first), await heard(second)] == [b"", b""]


async def more_than_may_be_on_their_way_wait_and_are_answered(pod: Pod) -> None:
    await pod.start(ANSWER)
    pod.signal(0, signal.SIGSTOP)
    clients = pod.clients(UNTAKEN_AT_MOST + 20)
    await until(lambda: pod.untaken(0) == UNTAKEN_AT_MOST)
    pod.signal(0, signal.SIGCONT)
    assert [await heard(client) for client in clients] == [b"0"] * len(clients)


async def the_last_are_handed_over_when_the_pod_leaves(pod: Pod) -> None:
    await pod.start(ANSWER)
    pod.signal(0, signal.SIGSTOP)
    clients = pod.clients(UNTAKEN_AT_MOST + 20)
    pod.acceptor.close()
    pod.signal(0, signal.SIGCONT)
    assert [await heard(client) for client in clients] == [b"0"] * len(clients)
    await until(lambda: pod.processes[0].program.poll() == 0)  # it has heard that there are no more


async def what_nobody_can_take_any_more_is_closed_at_once(pod: Pod) -> None:
    await pod.start(ANSWER, KEEP)
    pod.signal(0, signal.SIGSTOP)
    clients = pod.clients(2)
    await until(lambda: pod.untaken(0) == 1)
    pod.acceptor.close()
    ended = await pod.kill(0)
    pod.acceptor.hand_on(ended.untaken)
    assert await heard(clients[0]) == b""


async def what_a_busy_process_gives_back_is_answered_by_another(pod: Pod) -> None:
    await pod.start(GIVE, ANSWER)
    pod.ready()
    clients = pod.clients(2)
    await until(lambda: pod.processes[0].connections == 1 and not pod.untaken(0))
    pod.acceptor.relieve(pod.processes[0], 0.8)
    assert [await heard(client) for client in clients] == [b"1", b"1"]


async def what_a_process_had_given_back_when_it_died_is_answered_by_another(pod: Pod) -> None:
    await pod.start(GIVE, ANSWER)
    pod.ready()
    clients = pod.clients(2)
    await until(lambda: pod.processes[0].connections == 1 and not pod.untaken(0))
    pod.acceptor.relieve(pod.processes[0], 0.8)
    # Without a turn of our loop, until it is there to be taken.
    assert pod.processes[0].sockets.recv(1, socket.MSG_PEEK | socket.MSG_WAITALL)
    ended = await pod.kill(0)
    pod.acceptor.hand_on(ended.untaken)
    assert [await heard(client) for client in clients] == [b"1", b"1"]


async def a_busy_process_is_given_its_share_of_new_ones(pod: Pod) -> None:
    await pod.start(ANSWER, ANSWER)
    pod.processes[0].busy_at, pod.processes[0].refused = math.inf, 1.0
    assert sorted([await heard(client) for client in pod.clients(4)]) == [b"0", b"0", b"1", b"1"]


async def one_that_is_not_ready_is_given_none_while_another_is(pod: Pod) -> None:
    await pod.start(ANSWER, ANSWER)
    pod.processes[1].ready = True
    assert [await heard(client) for client in pod.clients(3)] == [b"1"] * 3
    pod.processes[1].ready = False
    assert [await heard(client) for client in pod.clients(2)] == [b"0"] * 2, "when none is, the one with the fewest is"
    pod.processes[0].ready = True
    pod.processes[0].pulse = Pulse()
    assert [await heard(client) for client in pod.clients(2)] == [b"1"] * 2, "nor is one that is silent"


async def half_of_its_share_stays_with_a_busy_process(pod: Pod) -> None:
    await pod.start(KEEP, KEEP)
    pod.ready()
    said: list[Frame] = []
    pod.processes[0].say = said.append  # type: ignore[method-assign]
    for mine, others, gives in ((2, 6, 0), (3, 5, 1), (1, 0, 1)):
        pod.processes[0].connections, pod.processes[1].connections = mine, others
        said.clear()
        pod.acceptor.relieve(pod.processes[0], 0.8)
        assert len(said) == gives


async def one_that_drowns_gives_to_one_that_refuses_far_fewer(pod: Pod) -> None:
    await pod.start(KEEP, KEEP)
    pod.ready()
    said: list[Frame] = []
    pod.processes[0].connections = 1
    pod.processes[0].say = said.append  # type: ignore[method-assign]
    for other, gives in ((0.8, 0), (0.5, 0), (0.3, 1), (0.0, 1)):
        pod.acceptor.relieve(pod.processes[1], other)
        said.clear()
        pod.acceptor.relieve(pod.processes[0], 0.8)
        assert len(said) == gives, other


async def what_is_given_back_goes_to_the_one_that_refuses_least(pod: Pod) -> None:
    await pod.start(GIVE, KEEP, ANSWER)
    pod.ready()
    clients = pod.clients(3)
    await until(lambda: pod.processes[0].connections == 1 and not pod.untaken(0))
    pod.acceptor.relieve(pod.processes[1], 0.3)
    pod.acceptor.relieve(pod.processes[2], 0.2)
    pod.acceptor.relieve(pod.processes[0], 0.8)
    assert sorted([await heard(client) for client in (clients[0], clients[2])]) == [b"2", b"2"]


async def nobody_gives_back_while_all_are_busy_or_silent(pod: Pod) -> None:
    await pod.start(KEEP, KEEP, KEEP)
    pod.ready()
    said: list[Frame] = []
    pod.processes[0].connections = 1
    pod.processes[0].say = said.append  # type: ignore[method-assign]
    pod.processes[1].busy_at, pod.processes[1].refused = math.inf, 0.8
    pod.processes[2].pulse = Pulse()
    pod.acceptor.relieve(pod.processes[0], 0.8)
    assert said == []
    pod.processes[1].busy_at = -math.inf
    pod.processes[1].ready = False
    pod.acceptor.relieve(pod.processes[0], 0.8)
    assert said == [], "nor to one that is not ready"
    pod.processes[1].ready = True
    pod.acceptor.relieve(pod.processes[0], 0.8)
    assert said == [{"kind": "give back"}]


@pytest.mark.parametrize(
    "scene",
    [
        those_on_their_way_to_a_process_that_dies_are_answered_by_another,
        the_one_that_takes_the_place_answers_when_there_is_no_other,
        what_a_process_had_taken_ends_with_it,
        what_a_process_takes_in_its_last_moment_is_its_own,
        more_than_may_be_on_their_way_wait_and_are_answered,
        the_last_are_handed_over_when_the_pod_leaves,
        what_nobody_can_take_any_more_is_closed_at_once,
        what_a_busy_process_gives_back_is_answered_by_another,
        what_a_process_had_given_back_when_it_died_is_answered_by_another,
        a_busy_process_is_given_its_share_of_new_ones,
        one_that_is_not_ready_is_given_none_while_another_is,
        half_of_its_share_stays_with_a_busy_process,
        one_that_drowns_gives_to_one_that_refuses_far_fewer,
        what_is_given_back_goes_to_the_one_that_refuses_least,
        nobody_gives_back_while_all_are_busy_or_silent,
    ],
    ids=lambda scene: scene.__name__.replace("_", " "),
)
def test_connections(scene: Callable[[Pod], Awaitable[None]]) -> None:
    async def play() -> None:
        async with new_pod() as pod:
            await scene(pod)

    asyncio.run(play())


def test_a_socket_for_which_no_descriptor_is_left_is_told_as_lost() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as given:
        theirs.send(b"t")
        assert pass_socket(theirs, given)
        theirs.send(b"s")  # what is received of one when the kernel had to drop its descriptor
        said = said_of_sockets(ours)
        for one in said.given_back:
            one.close()
    assert (said.taken, len(said.given_back), said.lost, said.ended) == (1, 1, 1, False)
