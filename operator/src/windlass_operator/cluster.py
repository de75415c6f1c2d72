"""The cluster behind a real API server; the only module that imports the Kubernetes client.

Requests go through kubernetes.aio's ApiClient, which knows credentials and TLS, but bodies stay plain JSON: the generated
models refuse what they do not know, and cost more than all else that the operator does.

A few connections are kept open while nothing happens: to open one takes several times as long as a request, and a user would
see that in how soon a status tells of a pod.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject, RESTResponse

from windlass_core import __version__
from windlass_operator import metrics
from windlass_operator.api import FIELD_MANAGER, ApiError, Busy, Conflict, Kind, Manifest, Refused

# One request that takes longer is dead; the key it was for comes again.
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
# Objects of one page of a list, so that neither side holds all of a large cluster at once.
LIST_PAGE = 500
# Connections kept open: as many as the widest look of a round uses, that at a service with its Model, pods and five children.
WARM_CONNECTIONS = 7
# Each is used this often, in seconds, and given up when it was not used for so many. The API server gives up after 90.
WARM_EVERY_SECONDS = 30.0
KEEPALIVE_SECONDS = 75.0

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
# Under what the figures count questions for what the server serves.
GROUPS = Kind("", "v1", "groups", "APIGroup")
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class _Connections(RESTClientObject):
    """The client's connections, kept for longer than aiohttp's 15 seconds."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, keepalive_timeout=KEEPALIVE_SECONDS)


class KubernetesCluster:
    """Implements `api.Cluster`."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        client.rest_client = _Connections(client.configuration)
        client.user_agent = f"windlass-operator/{__version__}"

    @classmethod
    async def connect(cls) -> "KubernetesCluster":
        """The cluster of the pod's service account, or else of the kubeconfig.

        Raises:
            ApiError: there is neither.
        """
        # A kubeconfig names a proxy itself; to look for one in the environment costs a thread for each request.
        configuration = Configuration(client_session_kwargs={"trust_env": False})
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            try:
                await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except config.ConfigException as error:
                raise ApiError(f"neither a service account nor a kubeconfig leads to a cluster: {error}") from error
        return cls(ApiClient(configuration))

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def keep_warm(self) -> None:
        """Use a few connections now and then, until cancelled, so that a round after a quiet hour finds them open."""
        while True:
            await self.warm()
            await asyncio.sleep(WARM_EVERY_SECONDS)

    async def warm(self) -> None:
        """Use WARM_CONNECTIONS at the same time. Whatever the server answers, they are open then; to be away is its right."""
        await asyncio.gather(*(self._touch() for _ in range(WARM_CONNECTIONS)))

    async def _touch(self) -> None:
        with suppress(Busy):
            await self._send("GET", "/version")

    async def served(self, group: str, version: str) -> frozenset[str]:
        """Plurals of the kinds that can be listed and watched, none while the server does not know the group.

        It is asked as kopf will ask.

        Raises:
            ApiError: as the verbs of `api.Cluster`.
        """
        known = await self._request("GET", GROUPS, "/apis") or {}
        versions = {each["groupVersion"] for one in known.get("groups", ()) for each in one["versions"]}
        if f"{group}/{version}" not in versions:
            return frozenset()
        found = await self._request("GET", GROUPS, f"/apis/{group}/{version}", absent_ok=True) or {}
        return frozenset(one["name"] for one in found.get("resources", ()) if {"list", "watch"} <= set(one["verbs"]))

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """See `api.Cluster`."""
        return await self._request("GET", kind, kind.path(namespace, name), absent_ok=True)

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        at_most: int | None = None,
    ) -> list[Manifest]:
        """See `api.Cluster`."""
        page_size = min(LIST_PAGE, at_most or LIST_PAGE)
        query = {"limit": str(page_size), "labelSelector": labels, "fieldSelector": fields}
        items: list[Manifest] = []
        while True:
            accept = METADATA_LIST if metadata_only else JSON
            page = await self._request("GET", kind, kind.path(namespace), query=query, accept=accept) or {}
            items += page.get("items") or []
            query["continue"] = page.get("metadata", {}).get("continue") or ""
            if not query["continue"] or (at_most is not None and len(items) >= at_most):
                return items[:at_most]

    async def create(self, kind: Kind, manifest: Manifest) -> None:
        """See `api.Cluster`."""
        path = kind.path(manifest["metadata"]["namespace"])
        await self._request("POST", kind, path, body=manifest, query={"fieldManager": FIELD_MANAGER})

    async def apply(self, kind: Kind, manifest: Manifest) -> None:
        """See `api.Cluster`."""
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        await self._request("PATCH", kind, path, body=manifest, query=query, content_type=APPLY)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Manifest,
        *,
        subresource: str | None = None,
        manager: str = FIELD_MANAGER,
    ) -> None:
        """See `api.Cluster`."""
        path = kind.path(namespace, name, subresource)
        await self._request("PATCH", kind, path, body=patch, query={"fieldManager": manager}, content_type=MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """See `api.Cluster`."""
        body: Manifest = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._request("DELETE", kind, kind.path(namespace, name), body=body, absent_ok=True)
        except Conflict:
            return  # another object has the name now

    async def _request(
        self,
        method: str,
        kind: Kind,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        absent_ok: bool = False,
    ) -> Manifest | None:
        given = urlencode({name: value for name, value in (query or {}).items() if value})
        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            response, data = await self._send(method, path + (f"?{given}" if given else ""), headers, body)
        except Busy:
            metrics.API_REQUESTS.labels(method, kind.plural, "none").inc()
            raise
        metrics.API_REQUESTS.labels(method, kind.plural, str(response.status)).inc()
        if response.status == 404 and absent_ok:
            return None
        if response.status >= 400:
            raise _error(response, data)
        document: Manifest = json.loads(data)
        return document

    async def _send(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: Manifest | None = None
    ) -> tuple[RESTResponse, bytes]:
        """An answer, whatever it says.

        Raises:
            Busy: there is none.
        """
        headers = {**(headers or {}), **self._client.default_headers}
        await self._client.update_params_for_auth(headers, None, ["BearerToken"], target, method, body)
        url = f"{self._client.configuration.host}{target}"
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=REQUEST_TIMEOUT
            )
            return response, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Busy(f"the API server does not answer: {type(error).__name__} {error}".strip()) from error


def _error(response: RESTResponse, data: bytes) -> ApiError:
    """The error that says what to do about an answer."""
    status, message = response.status, _message(data) or f"HTTP {response.status}"
    if status in (404, 409, 410):  # 410: a list took so long that its next page is no longer kept
        return Conflict(message, status=status)
    if status in (401, 408, 429) or status >= 500:
        return Busy(message, status=status, retry_after=_seconds(response.headers.get("Retry-After")))
    return Refused(message, status=status)


def _message(data: bytes) -> str:
    try:
        document: Any = json.loads(data)
    except ValueError:
        return data[:300].decode(errors="replace")
    return str(document.get("message", "")) if isinstance(document, dict) else ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
