"""One serving process: reads what to serve, and serves it alone or as one of a crew."""

import os

from windlass_core.contracts import InferServe
from windlass_core.errors import BadConfiguration
from windlass_core.processes.crew import Crew
from windlass_core.run import read_spec
from windlass_core.serving import serve
from windlass_core.store import Store
from windlass_infer.app import create
from windlass_infer.repository import read_token
from windlass_infer.service import Service
from windlass_infer.tracing import Tracing


def serve_model(port: int, grpc_port: int | None, crew: Crew) -> None:
    """Serve the model that WINDLASS_RUN_SPEC names until SIGTERM.

    Args:
        port: to listen on, when this process serves alone.
        grpc_port: for gRPC; all processes of a crew listen on it. None for no gRPC.
        crew: the processes that serve together.

    Raises:
        WindlassError: the model can never be served.
    """
    spec = read_spec(os.environ)
    if not isinstance(spec, InferServe):
        raise BadConfiguration(f"this program serves models; the run is of kind '{spec.kind}'")
    service = Service(spec, lambda: Store.open(spec.namespace))
    tracing = Tracing.configured(os.environ, spec.name)
    app = create(service, grpc_port=grpc_port, crew=crew, token=read_token(os.environ), tracing=tracing)
    serve(app, port, on_drain=service.drain, until=lambda: service.failure is not None)
    if service.failure:
        raise service.failure
