"""What the project wants of the infer service, against the results: each with PASS or MISS and the figure."""

from collections.abc import Callable, Iterator

from serving.results import FAST, OURS, Results, Target

TINY, LARGE = "mlp", ("resnet", "encoder")
OPEN, OVERLOAD = "open at 80 % of the best peer's peak", "open at 120 % of own peak"
# The closed loops right before and after each overload, of the same processes; the overload is a multiple of the one before.
CAPACITY, OVERLOAD_FACTOR = "closed 64 beside the overload", 1.2
# Where the two differ by more, the machine has changed its speed meanwhile, and it was another overload than was wanted.
STEADY = 0.8
# Of the allowed-loss variant, on a CPU with AMX: times eager torch.
FAST_FACTORS = {"resnet": 3.0, "encoder": 4.0}


def targets(results: Results, workloads: list[str]) -> list[Target]:
    """All that speak of the workloads that were run."""
    found: list[Target] = []
    for workload in workloads:
        found += _tiny(results) if workload == TINY else _large(results, workload)
        found += _open(results, workload)
    return found


def _tiny(results: Results) -> Iterator[Target]:
    rate = results.median(OURS, TINY, "closed 64", "rate")
    yield _ratio(
        "mlp, 64 connections: at least half of bare ASGI + torch", rate, results.ceiling(TINY, "closed 64"), lambda r: r >= 0.5
    )
    peer = results.best_peer(TINY, "closed 64")
    yield _ratio(f"mlp, 64 connections: at least 2x the best peer ({_name(peer)})", rate, _value(peer), lambda r: r >= 2)
    p50 = results.median(OURS, TINY, "closed 1", "p50")
    sentence = "mlp, 1 connection: p50 at most 1.2x of the naive handler's own work without FastAPI"
    yield _ratio(f"{sentence}, served by bare ASGI", p50, results.median("asgi", TINY, "closed 1", "p50"), lambda r: r <= 1.2)
    yield _ratio(f"{sentence}, as a function call (no HTTP)", p50, results.naive_work_ms(TINY), lambda r: r <= 1.2)


def _large(results: Results, workload: str) -> Iterator[Target]:
    eager = results.eager_rows(workload)
    for connections in (16, 64):
        rate = results.median(OURS, workload, f"closed {connections}", "rate")
        sentence = f"{workload}, {connections} connections: above eager torch"
        possible = results.eager_rows(workload, connections)
        yield _ratio(f"{sentence} with batches that so many can fill", rate, possible, lambda r: r > 1)
        yield _ratio(f"{sentence} with its best batch", rate, eager, lambda r: r > 1)
        if (fast := results.median(FAST, workload, f"closed {connections}", "rate")) is not None:
            factor = FAST_FACTORS[workload]
            sentence = f"{workload}, {connections} connections, loss allowed: at least {factor:g}x eager torch"
            yield _ratio(sentence, fast, factor * eager, lambda r: r >= 1)
    others = results.best_peer(workload, "closed 1", "p50", least=True)
    yield _ratio(
        f"{workload}, 1 connection: p50 the lowest of all ({_name(others)})",
        results.median(OURS, workload, "closed 1", "p50"),
        _value(others),
        lambda r: r < 1,
    )


def _open(results: Results, workload: str) -> Iterator[Target]:
    peer = results.best_peer(workload, OPEN, "p99", least=True)
    yield _ratio(
        f"{workload}, {OPEN}: p99 at most half of that peer's ({_name(peer)})",
        results.median(OURS, workload, OPEN, "p99"),
        _value(peer),
        lambda r: r <= 0.5,
    )
    sentence = f"{workload}, {OVERLOAD}: at least 75 % of capacity inside the deadline"
    # Of each overload beside the capacity of its own processes and minute: medians apart would compare one minute with another.
    share = results.median(OURS, workload, OVERLOAD, "capacity_share")
    yield Target(sentence, "not measured" if share is None else f"{share:.2f}", None if share is None else share >= 0.75)
    refusal = results.median(OURS, workload, OVERLOAD, "refusal_p99")
    if refusal:
        yield Target(f"{workload}, {OVERLOAD}: refusals in under 10 ms (p99)", f"{refusal:.1f} ms", refusal < 10)


def _ratio(sentence: str, ours: float | None, other: float | None, wanted: Callable[[float], bool]) -> Target:
    if ours is None or not other:
        return Target(sentence, "not measured", None)
    return Target(sentence, f"{ours / other:.2f} ({_short(ours)} : {_short(other)})", wanted(ours / other))


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _name(found: tuple[str, float] | None) -> str:
    return found[0] if found else "none"


def _value(found: tuple[str, float] | None) -> float | None:
    return found[1] if found else None
