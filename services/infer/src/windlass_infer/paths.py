"""The paths of the doors: those of the model of the spec, loaded or not, and of every other version that is loaded.

Knows no body and no connection.
"""

from collections.abc import Callable
from functools import partial

from windlass_core.direct import Direct, DirectRequest, Gate
from windlass_infer.exchange import Route, route_of_version, routes_of
from windlass_infer.service import Service


class Paths:
    """Routes by path, always as the service's table is now.

    Args:
        service: what has the table.
        direct: the server's table of the short way.
        handle: takes a request of a route the short way.
        gate_of: what refuses requests of a route before that, where there is such a thing.
    """

    def __init__(
        self,
        service: Service,
        direct: Direct,
        handle: Callable[[Route, DirectRequest], bool],
        gate_of: Callable[[Route], Gate | None],
    ) -> None:
        self._service = service
        self._direct = direct
        self._handle = handle
        self._gate_of = gate_of
        self.routes: dict[str, Route] = {}
        service.on_change(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Follow a change of the table."""
        spec = self._service.spec
        routes = routes_of(spec.name, spec.model.version) if self._service.loaded is None else []
        for model in self._service.table:
            for serving in model.servings:
                if serving is model.current:
                    routes += routes_of(model.name, serving.version.number)
                else:
                    routes.append(route_of_version(model.name, serving.version.number))
        self.routes = {route.path: route for route in routes}
        handlers, gates = self._direct.handlers, self._direct.gates
        handlers.clear()
        handlers.update((route.path.encode(), partial(self._handle, route)) for route in routes)
        gates.clear()
        gates.update((route.path.encode(), gate) for route in routes if (gate := self._gate_of(route)))
