"""Which servers are compared, with the settings that their documentation advises for a CPU with few cores.

Batching is a trade: each peer that has it is here twice, with and without, and counts with whichever is better in a cell.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from serving.servers import Server, Start
from serving.wire import as_bytes, as_json, as_rows, as_v2, from_json, from_v2

# Rows that a peer may compute together, and how long it may wait for them: a few times what a request takes.
BATCH = 32
BATCH_MILLISECONDS = 2


def windlass(store: Path, digests: Mapping[str, Mapping[str, object]], name: str = "windlass", **choice: object) -> Server:
    """Our own service on versions that were published to a folder.

    Args:
        store: the folder.
        digests: reference of the version of each workload, as JSON has it.
        name: in the tables.
        choice: further fields of the serving spec, for example `engine` or `loss`.
    """

    def prepare(start: Start) -> Mapping[str, str]:
        spec = {
            "kind": "infer",
            "namespace": "bench",
            "name": "model",
            "model": digests[start.workload.name],
            "processes": start.processes,
        } | choice
        return {
            "WINDLASS_RUN_SPEC": json.dumps(spec),
            "WINDLASS_STORE_URL": f"file://{store}",
            "WINDLASS_TERMINATION_LOG": str(start.folder / "termination-log"),
        }

    return Server(
        name=name,
        command=["-m", "windlass_infer", "serve", "--port", "{port}"],
        write=as_v2("/v2/models/model/infer", "inputs", binary=True),
        read=from_v2,
        prepare=prepare,
    )


def _baseline(kind: str, *, model: bool) -> Server:
    return Server(
        name=kind,
        command=["-m", "serving.peers.baseline", kind, "{workload}", "{port}", "{processes}"],
        write=as_json("/predict"),
        read=from_json,
        model=model,
    )


def _mlserver_settings(start: Start) -> Mapping[str, str]:
    settings = {
        "host": "127.0.0.1",
        "http_port": start.port,
        "grpc_port": start.port + 1,
        "metrics_port": start.port + 2,
        # 0: the model runs where requests are read. One worker process beside it is slower and idles a core.
        "parallel_workers": 0 if start.processes == 1 else start.processes,
        "gzip_enabled": False,
        "debug": False,
    }
    model: dict[str, object] = {"name": "model", "implementation": "serving.peers.mlserver_model.Model"}
    if start.batch > 1:
        model |= {"max_batch_size": start.batch, "max_batch_time": BATCH_MILLISECONDS / 1000}
    (start.folder / "settings.json").write_text(json.dumps(settings))
    (start.folder / "model-settings.json").write_text(json.dumps(model))
    return {"WINDLASS_BENCH_WORKLOAD": start.workload.name}


def _both(server: Server) -> list[Server]:
    """A peer without batches, and the same with them."""
    return [server, replace(server, name=f"{server.name}-batch", batch=BATCH)]


LITSERVE = Server(
    name="litserve",
    venv="litserve",
    command=["-m", "serving.peers.litserve_server", "{workload}", "{port}", "{processes}", "{batch}"],
    write=as_json("/predict"),
    read=from_json,
    peer=True,
)
RAY = Server(
    name="ray",
    venv="ray",
    command=["-m", "serving.peers.ray_server", "{workload}", "{port}", "{processes}", "{batch}"],
    write=as_bytes("/predict"),
    read=from_json,
    environment={"RAY_TMPDIR": "{folder}", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"},
    peer=True,
)
BENTOML = Server(
    name="bentoml",
    venv="bentoml",
    command=["-m", "bentoml", "serve", "serving.peers.bentoml_service:Model", "--host", "127.0.0.1", "--port", "{port}"],
    write=as_rows("/predict"),
    read=from_json,
    environment={
        "WINDLASS_BENCH_WORKLOAD": "{workload}",
        "WINDLASS_BENCH_PROCESSES": "{processes}",
        "WINDLASS_BENCH_BATCH": "{batch}",
        "BENTOML_HOME": "{folder}",
        "BENTOML_DO_NOT_TRACK": "True",
    },
    peer=True,
)
MLSERVER = Server(
    name="mlserver",
    venv="mlserver",
    command=["-m", "mlserver.cli.main", "start", "{folder}"],
    write=as_v2("/v2/models/model/infer", "inputs", binary=False),
    read=from_v2,
    prepare=_mlserver_settings,
    peer=True,
)
KSERVE = Server(
    name="kserve",
    venv="kserve",
    command=["-m", "serving.peers.kserve_server", "--http_port", "{port}", "--workers", "{processes}"],
    environment={"WINDLASS_BENCH_WORKLOAD": "{workload}"},
    write=as_v2("/v2/models/model/infer", "inputs", binary=True),
    read=from_v2,
    peer=True,
)
BASELINES = [_baseline("bare", model=False), _baseline("asgi", model=True), _baseline("naive", model=True)]
PEERS = [*_both(LITSERVE), *_both(RAY), *_both(BENTOML), *_both(MLSERVER), KSERVE]
