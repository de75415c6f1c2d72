"""One serving process: reads what to serve, and serves it alone or as one of a crew."""

import os

from windlass_core.contracts import InferServe
from windlass_core.errors import BadConfiguration
from windlass_core.processes.crew import Crew
from windlass_core.run import read_spec
from windlass_core.serving import serve
from windlass_core.store import Store
from windlass_infer.app import create
from windlass_infer.service import Service


def serve_model(port: int, crew: Crew) -> None:
    """Serve the model that WINDLASS_RUN_SPEC names until SIGTERM.

    Args:
        port: to listen on, when this process serves alone.
        crew: the processes that serve together.

    Raises:
        WindlassError: the model can never be served.
    """
    spec = read_spec(os.environ)
    if not isinstance(spec, InferServe):
        raise BadConfiguration(f"this program serves models; the run is of kind '{spec.kind}'")
    service = Service(spec, lambda: Store.open(spec.namespace))
    serve(create(service, crew=crew), port, on_drain=service.drain, until=lambda: service.failure is not None)
    if service.failure:
        raise service.failure
