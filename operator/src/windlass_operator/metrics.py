"""The operator's own figures for Prometheus: what it works on, how long that takes, and what it asks of the API server."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("windlass_operator_reconciles_total", "Keys worked on, by kind and outcome.", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(
    "windlass_operator_reconcile_seconds",
    "Seconds that one key took.",
    ["kind"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
QUEUE_DEPTH = Gauge("windlass_operator_queue_depth", "Keys that wait.")
QUEUE_RETRYING = Gauge("windlass_operator_queue_retrying", "Keys that failed when they were last worked on.")
QUEUE_OLDEST_SECONDS = Gauge("windlass_operator_queue_oldest_seconds", "Seconds that the key in front has waited.")
API_REQUESTS = Counter(
    "windlass_operator_api_requests_total", "Requests to the API server, watches aside.", ["method", "resource", "status"]
)
WATCH_EVENTS = Counter("windlass_operator_watch_events_total", "Watch events, by kind.", ["kind"])
STALE_STREAMS = Gauge("windlass_operator_stale_streams", "Watch streams that missed changes that a listing shows.")
SCRAPES = Counter(
    "windlass_operator_progress_scrapes_total", "Questions to run pods for their progress, by outcome.", ["outcome"]
)
