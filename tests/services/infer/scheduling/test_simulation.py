"""Simulated hours of load, in virtual time, with arrivals drawn in advance: what is answered in time, by rule.

A baseline that takes whatever waits in order of arrival, without refusing anything, runs on the same arrivals.
"""

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import pytest

from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.queue import Priority, Work
from windlass_infer.scheduling.scheduler import Scheduler, SchedulerLane

NOISE = 0.05
HELD_ENOUGH = object()  # an event: a batch has been held for as long as it may


@dataclass(frozen=True)
class Machine:
    """An engine whose batches take a * rows + b seconds, and the deadline of its callers."""

    a: float
    b: float
    batch: int
    slo: float

    @property
    def capacity(self) -> float:
        """Rows a second in full batches."""
        return self.batch / (self.a * self.batch + self.b)


CPU = Machine(a=0.002, b=0.001, batch=16, slo=0.060)
GPU = Machine(a=0.0001, b=0.004, batch=64, slo=0.040)
LARGE = Machine(a=0.0032, b=0.0022, batch=128, slo=0.150)  # a batch of what may wait takes three times the deadline
MACHINES = {"a CPU": CPU, "a GPU": GPU, "a large model": LARGE}


@dataclass(frozen=True, order=True)
class Arrival:
    at: float
    lane: int = 0
    rows: int = 1
    priority: Priority = Priority.INTERACTIVE


@dataclass
class Tally:
    """What became of the requests of one lane."""

    offered: int = 0
    in_time: int = 0
    late: int = 0
    refused: int = 0
    dropped: int = 0
    rows_in_time: int = 0
    waits: dict[Priority, list[float]] = field(default_factory=lambda: {priority: [] for priority in Priority})


def poisson(rate: float, seconds: float, dice: random.Random, lane: int = 0, **fields: object) -> Iterator[Arrival]:
    now = dice.expovariate(rate)
    while now < seconds:
        yield Arrival(now, lane, **fields)  # type: ignore[arg-type]
        now += dice.expovariate(rate)


def bursty(rate: float, seconds: float, dice: random.Random) -> Iterator[Arrival]:
    """2.2 times the rate for half a second, 0.6 times for one and a half."""
    for arrival in poisson(rate * 2.2, seconds, dice):
        if arrival.at % 2 < 0.5 or dice.random() < 0.6 / 2.2:
            yield arrival


def simulate(
    machines: list[Machine],
    arrivals: list[Arrival],
    dice: random.Random,
    *,
    slowness: Callable[[float], float] = lambda _now: 1.0,
    prior: float = 2.0,
    holds: bool = True,
    returns: Callable[[Arrival, float], Arrival | None] = lambda _arrival, _now: None,
) -> list[Tally]:
    """The scheduler on these arrivals. Costs begin `prior` times off, so that they must be learned.

    `holds`: batches may be held, as on a thread; `returns`: what a caller asks next who has just had an answer.
    """
    scheduler: Scheduler[Arrival] = Scheduler()
    lanes: list[SchedulerLane[Arrival]] = [
        SchedulerLane(CostModel(prior * machine.a, prior * machine.b), machine.batch) for machine in machines
    ]
    for lane in lanes:
        scheduler.add(lane)
    tallies = [Tally() for _ in machines]
    events: list[tuple[float, int, object]] = [(arrival.at, index, arrival) for index, arrival in enumerate(arrivals)]
    heapq.heapify(events)
    number = len(events)
    running = False
    while events:
        now, _, event = heapq.heappop(events)
        if isinstance(event, Arrival):
            lane, tally, machine = lanes[event.lane], tallies[event.lane], machines[event.lane]
            tally.offered += 1
            deadline = now + machine.slo if event.priority is Priority.INTERACTIVE else float("inf")
            idle = scheduler.idle
            if scheduler.refusal(lane, event.rows, deadline, now, event.priority):
                lane.refused(now)
                tally.refused += 1
            else:
                scheduler.queue(lane, Work(event, event.rows, now, deadline, event.priority, probe=idle))
        elif event is not HELD_ENOUGH:
            lane_index, taken, seconds = event  # type: ignore[misc]
            lanes[lane_index].costs.observe(taken.rows, seconds)
            scheduler.finished()
            if holds:
                scheduler.hold(lanes[lane_index], taken, now)
            running = False
            for piece in taken.pieces:
                if piece.last:
                    if (again := returns(piece.work.item, now)) is not None:
                        number += 1
                        heapq.heappush(events, (again.at, number, again))
                    tally = tallies[lane_index]
                    tally.waits[piece.work.priority].append(now - piece.work.arrived)
                    if now <= piece.work.deadline:
                        tally.in_time += 1
                        tally.rows_in_time += piece.work.rows
                    else:
                        tally.late += 1
        if not running and (held_until := scheduler.held_until(now)) > now:
            number += 1
            heapq.heappush(events, (held_until, number, HELD_ENOUGH))
            continue
        while not running and (turn := scheduler.next(now)):
            lane_index = lanes.index(turn.lane)
            tallies[lane_index].dropped += len(turn.taken.late)
            if turn.taken.pieces:
                machine = machines[lane_index]
                seconds = (machine.a * turn.taken.rows + machine.b) * dice.uniform(1 - NOISE, 1 + NOISE) * slowness(now)
                number += 1
                heapq.heappush(events, (now + seconds, number, (lane_index, turn.taken, seconds)))
                running = True
    return tallies


def first_come(machine: Machine, arrivals: list[Arrival], dice: random.Random) -> Tally:
    """The baseline: whatever waits, in order of arrival, nothing refused."""
    tally = Tally(offered=len(arrivals))
    now, index = 0.0, 0
    while index < len(arrivals):
        now = max(now, arrivals[index].at)
        batch = [arrivals[index]]
        while len(batch) < machine.batch and index + len(batch) < len(arrivals) and arrivals[index + len(batch)].at <= now:
            batch.append(arrivals[index + len(batch)])
        index += len(batch)
        now += (machine.a * len(batch) + machine.b) * dice.uniform(1 - NOISE, 1 + NOISE)
        for arrival in batch:
            tally.waits[arrival.priority].append(now - arrival.at)
            tally.in_time += now - arrival.at <= machine.slo
    return tally


def drawn(seed: int = 4) -> random.Random:
    return random.Random(seed)  # noqa: S311  # drawn arrivals, no secret


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("load", [1.2, 2.0])
def test_beyond_capacity_nearly_all_of_it_is_in_time_and_hardly_any_are_let_in_in_vain(machine: Machine, load: float) -> None:
    seconds = 15.0
    arrivals = list(poisson(load * machine.capacity, seconds, drawn()))
    tally = simulate([machine], arrivals, drawn())[0]
    baseline = first_come(machine, arrivals, drawn())
    assert tally.in_time >= 0.95 * machine.capacity * seconds, tally
    assert tally.late + tally.dropped <= 0.005 * tally.in_time
    assert median(tally.waits[Priority.INTERACTIVE]) <= 0.7 * machine.slo
    assert baseline.in_time <= 0.05 * machine.capacity * seconds


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize(("load", "share"), [(0.1, 0.999), (0.8, 0.995), (0.95, 0.96)], ids=["a tenth", "0.8", "0.95"])
def test_below_capacity_nearly_all_are_in_time(machine: Machine, load: float, share: float) -> None:
    arrivals = list(poisson(load * machine.capacity, 15.0, drawn()))
    tally = simulate([machine], arrivals, drawn())[0]
    baseline = first_come(machine, arrivals, drawn())
    assert tally.in_time >= share * tally.offered
    assert tally.in_time >= 0.99 * baseline.in_time


def test_bursts_beyond_capacity_cost_the_least_that_they_can() -> None:
    arrivals = list(bursty(0.6 * CPU.capacity, 60.0, drawn()))
    tally = simulate([CPU], arrivals, drawn())[0]
    baseline = first_come(CPU, arrivals, drawn())
    assert tally.in_time >= 0.85 * tally.offered
    assert tally.in_time > 1.2 * baseline.in_time


def test_a_slow_phase_is_shed_and_forgotten() -> None:
    """For twenty of sixty seconds everything takes four times as long; before and after nearly all is in time."""
    arrivals = list(poisson(0.7 * CPU.capacity, 60.0, drawn()))
    phases = {"before": (0, 20), "slow": (20, 40), "after": (41, 60)}
    tally = simulate([CPU], arrivals, drawn(), slowness=lambda now: 4.0 if 20 <= now < 40 else 1.0)[0]
    usual = simulate([CPU], arrivals, drawn())[0]
    lost = usual.in_time - tally.in_time
    slow_offered = sum(phases["slow"][0] <= arrival.at < phases["slow"][1] for arrival in arrivals)
    possible = 20 * CPU.capacity / 4
    assert lost <= slow_offered - 0.7 * possible, "what the slow machine could do, it did"
    assert tally.late <= 0.01 * tally.in_time


@pytest.mark.parametrize(
    ("loads", "least"),
    [((1.2, 0.1), 0.99), ((1.2, 1.2), 0.75), ((3.0, 0.3), 0.95)],
    ids=["a small lane beside a flooded one", "two flooded lanes", "a lane beside a flood of three times all"],
)
def test_lanes_share_the_engine_by_time(loads: tuple[float, float], least: float) -> None:
    """Both lanes have what they ask for up to half of the engine, whatever the other asks for."""
    seconds = 20.0
    slow = Machine(a=0.004, b=0.002, batch=8, slo=0.3)
    fast = Machine(a=0.0005, b=0.0005, batch=32, slo=0.3)
    dice = drawn()
    arrivals = sorted(
        [*poisson(loads[0] * slow.capacity, seconds, dice, 0), *poisson(loads[1] * fast.capacity, seconds, dice, 1)]
    )
    tallies = simulate([slow, fast], arrivals, drawn())
    for machine, tally, load in zip((slow, fast), tallies, loads, strict=True):
        fair = min(load, 0.5) * machine.capacity * seconds
        assert tally.in_time >= least * min(fair, tally.offered), (machine, tally)


def test_batch_work_fills_what_interactive_requests_leave_and_does_not_hold_them_up() -> None:
    seconds = 20.0
    dice = drawn()
    people = list(poisson(0.5 * CPU.capacity, seconds, dice))
    bulk = [Arrival(at / 4, rows=200, priority=Priority.BATCH) for at in range(int(seconds * 4))]
    alone = simulate([CPU], people, drawn())[0]
    beside = simulate([CPU], sorted([*people, *bulk]), drawn())[0]
    assert sum(wait <= CPU.slo for wait in beside.waits[Priority.INTERACTIVE]) >= 0.97 * alone.in_time
    assert beside.rows_in_time >= 0.9 * CPU.capacity * seconds, "the engine is never idle"


def test_batch_work_is_not_starved_by_a_flood_of_interactive_requests() -> None:
    arrivals = sorted(
        [
            *poisson(1.5 * CPU.capacity, 90.0, drawn()),
            *(Arrival(float(at), rows=16, priority=Priority.BATCH) for at in range(20)),
        ]
    )
    scheduler_tally = simulate([CPU], arrivals, drawn())[0]
    assert 30 < max(scheduler_tally.waits[Priority.BATCH]) < 60
    assert len(scheduler_tally.waits[Priority.BATCH]) == 20


def test_a_large_request_and_small_ones_go_between_one_another() -> None:
    large = Arrival(1.0, rows=3200, priority=Priority.INTERACTIVE)
    patient = Machine(CPU.a, CPU.b, CPU.batch, slo=30.0)
    small = list(poisson(0.3 * CPU.capacity, 20.0, drawn()))
    tally = simulate([patient], sorted([*small, large]), drawn())[0]
    waits = sorted(tally.waits[Priority.INTERACTIVE])
    assert tally.in_time == tally.offered
    assert waits[-1] < 12, "6.6 s alone, and the small ones take 0.3 of the engine"
    assert waits[-2] < 3.0, "a small one waits for pieces that are due before it, never for the whole"


def closed(machine: Machine, callers: int, *, holds: bool, seconds: float = 20.0) -> Tally:
    """Callers without deadlines who ask again as soon as they have an answer, give or take half a millisecond."""
    dice = drawn()
    return simulate(
        [Machine(machine.a, machine.b, machine.batch, slo=math.inf)],
        [Arrival(dice.uniform(0, 0.01)) for _ in range(callers)],
        drawn(),
        holds=holds,
        returns=lambda _arrival, now: Arrival(now + dice.uniform(0.0001, 0.0006)) if now < seconds else None,
    )[0]


@pytest.mark.parametrize(
    ("machine", "callers", "least"),
    [(GPU, 2, 1.3), (GPU, 16, 1.5), (GPU, 64, 1.25), (CPU, 2, 1.08), (LARGE, 16, 1.0)],
    ids=["two on a GPU", "16 on a GPU", "64 on a GPU", "two on a CPU", "16 on a large model"],
)
def test_callers_who_come_back_at_once_are_computed_together_where_that_is_cheaper(
    machine: Machine, callers: int, least: float
) -> None:
    """A batch taken at once has half of them, and the other half is computed while the first is answered."""
    held, at_once = closed(machine, callers, holds=True), closed(machine, callers, holds=False)
    assert held.in_time >= least * at_once.in_time
    assert median(held.waits[Priority.INTERACTIVE]) <= 1.02 / least * median(at_once.waits[Priority.INTERACTIVE])


def test_where_larger_batches_are_no_cheaper_trying_costs_hardly_anything() -> None:
    linear = Machine(a=0.006, b=0.00001, batch=32, slo=1.0)
    assert closed(linear, 16, holds=True).in_time >= 0.985 * closed(linear, 16, holds=False).in_time


def test_one_caller_never_waits_for_others() -> None:
    held, at_once = closed(GPU, 1, holds=True), closed(GPU, 1, holds=False)
    assert held.waits == at_once.waits


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_callers_who_come_at_times_of_their_own_wait_hardly_longer(machine: Machine, load: float) -> None:
    arrivals = list(poisson(load * machine.capacity, 30.0, drawn()))
    held, at_once = (simulate([machine], arrivals, drawn(), holds=holds)[0] for holds in (True, False))
    for share in (0.5, 0.99):
        waits = [quantile(tally.waits[Priority.INTERACTIVE], share) for tally in (held, at_once)]
        assert waits[0] <= 1.06 * waits[1], share


def test_a_change_of_callers_is_seen_soon() -> None:
    """For ten seconds they come at times of their own, for ten at once after their answers: within two those are together."""
    dice = drawn()
    own_times = list(poisson(0.6 * GPU.capacity, 10.0, dice))
    again = [Arrival(10.0 + dice.uniform(0, 0.01), rows=1) for _ in range(16)]

    def served(*, holds: bool) -> int:
        done: list[float] = []

        def returns(_arrival: Arrival, now: float) -> Arrival | None:
            if 12.0 < now < 20.0:
                done.append(now)
            return Arrival(now + dice.uniform(0.0001, 0.0006)) if 10.1 < now < 20.0 else None

        simulate([Machine(GPU.a, GPU.b, GPU.batch, math.inf)], [*own_times, *again], drawn(), holds=holds, returns=returns)
        return len(done)

    assert served(holds=True) >= 1.4 * served(holds=False)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]
