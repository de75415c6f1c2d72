"""Observe, plan, execute: what happens to one key. The one place where errors become retries or conditions.

A round may end at any point, by an error or by the end of the process: every write is made so that the next round, which begins
with a fresh look, finishes what this one began.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from windlass_core.resources import Condition
from windlass_operator import conditions, metrics
from windlass_operator.api import (
    DATASET,
    EVENT,
    FIELD_MANAGER,
    INFERENCE_SERVICE,
    MODEL,
    TRAINING_JOB,
    ApiError,
    Busy,
    Cluster,
    Conflict,
    Key,
    Kind,
    Manifest,
    Refused,
)
from windlass_operator.conditions import Verdict
from windlass_operator.dataset.plan import plan_dataset
from windlass_operator.diagnosis import of_refused_text
from windlass_operator.inference.plan import plan_inference_service
from windlass_operator.model.plan import plan_model
from windlass_operator.notes import event
from windlass_operator.observe import observe_dataset, observe_inference_service, observe_model, observe_training_job
from windlass_operator.plan import Action, Apply, Context, Create, Delete, Note, Parent, Patch, Plan
from windlass_operator.progress import ProgressSource
from windlass_operator.queue import RetryLater
from windlass_operator.secrets import StoreSecrets
from windlass_operator.settings import Settings
from windlass_operator.training.plan import plan_training_job

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Handling:
    """How one kind is observed and planned, and the condition that sums it up."""

    kind: Kind
    observe: Callable[[Cluster, Parent], Awaitable[Any]]
    plan: Callable[[Any, Context], Plan]
    summary: str


_HANDLING = {
    handling.kind.name: handling
    for handling in (
        _Handling(DATASET, observe_dataset, plan_dataset, "Ready"),
        _Handling(TRAINING_JOB, observe_training_job, plan_training_job, "Succeeded"),
        _Handling(MODEL, observe_model, plan_model, "Ready"),
        _Handling(INFERENCE_SERVICE, observe_inference_service, plan_inference_service, "Ready"),
    )
}


class Reconciler:
    """Works on one key at a time; keeps nothing that a restart may not lose.

    Args:
        progress: what run pods say of themselves.
        clock: the time of day, in UTC.
    """

    def __init__(self, cluster: Cluster, settings: Settings, progress: ProgressSource, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._settings = settings
        self._progress = progress
        self._clock = clock
        self._secrets = StoreSecrets(cluster, settings.store)

    async def __call__(self, key: Key) -> float | None:
        """One round for one key.

        Returns:
            Seconds after which to look again although nothing happened, or None.

        Raises:
            RetryLater: something did not work out; the key must come again.
        """
        outcome = "failed"
        try:
            with metrics.RECONCILE_SECONDS.labels(key.kind).time():
                requeue_after = await self._round(key)
            outcome = "done"
        except Conflict as error:
            outcome = "conflict"
            raise RetryLater(error.message) from error
        except Busy as error:
            outcome = "busy"
            raise RetryLater(error.message, after=error.retry_after) from error
        except ApiError as error:
            outcome = "refused"
            raise RetryLater(error.message) from error
        finally:
            metrics.RECONCILES.labels(key.kind, outcome).inc()
        return requeue_after

    async def _round(self, key: Key) -> float | None:
        handling = _HANDLING[key.kind]
        manifest = await self._cluster.get(handling.kind, key.namespace, key.name)
        if manifest is None:
            self._progress.forget(key)
            await self._secrets.release(key.namespace)
            return None
        parent = Parent.read(handling.kind, manifest)
        seen = await handling.observe(self._cluster, parent)
        context = Context(now=self._now(), settings=self._settings, progress=self._progress.latest(key))
        plan = handling.plan(seen, context)
        self._follow(key, plan)
        await self._execute(parent, plan, handling.summary)
        return plan.requeue_after

    def _follow(self, key: Key, plan: Plan) -> None:
        """Ask the pod that the plan names for its progress from now on, or nobody."""
        if plan.endpoint is None:
            self._progress.forget(key)
        else:
            self._progress.follow(key, plan.endpoint)

    async def _execute(self, parent: Parent, plan: Plan, summary: str) -> None:
        try:
            if not parent.deleting and parent.kind is not MODEL:
                await self._secrets.ensure(parent.namespace, urgent=plan.refresh_secret)
            for action in plan.actions:
                await self._perform(action)
        except Refused as error:
            await self._tell_refused(parent, summary, error)
            raise
        if plan.status is not None:
            await self._write_status(parent, plan.status)
        await asyncio.gather(*(self._tell(parent, note) for note in plan.notes))

    async def _perform(self, action: Action) -> None:
        match action:
            case Apply(kind, manifest):
                await self._cluster.apply(kind, manifest)
            case Create(kind, manifest):
                await self._cluster.create(kind, manifest)
            case Delete(kind, namespace, name, uid):
                await self._cluster.delete(kind, namespace, name, uid)
            case Patch(kind, namespace, name, patch, resource_version, subresource, manager):
                body = _locked(patch, resource_version) if resource_version else patch
                manager = manager or FIELD_MANAGER
                await self._cluster.patch(kind, namespace, name, body, subresource=subresource, manager=manager)

    async def _write_status(self, parent: Parent, status: Manifest) -> None:
        """Write what changed, if anything did; Conflict when the object has changed since it was read."""
        changes = difference(parent.status, status)
        if changes:
            patch = _locked({"status": changes}, parent.resource_version)
            await self._cluster.patch(parent.kind, parent.namespace, parent.name, patch, subresource="status")

    async def _tell_refused(self, parent: Parent, summary: str, error: Refused) -> None:
        """What the API server refuses, the user must know; it is tried again in case it was a quota or a right."""
        found = of_refused_text(error.message)
        verdict = Verdict("Unknown" if summary == "Succeeded" else "False", found.reason, found.message, problem=True)
        before = [Condition.model_validate(condition) for condition in parent.status.get("conditions") or []]
        after = conditions.settle(before, {summary: verdict}, generation=parent.generation, now=self._now())
        told = {**parent.status, "conditions": [condition.to_json() for condition in after]}
        await self._write_status(parent, told)
        for note in conditions.notes(before, summary, verdict):
            await self._tell(parent, note)

    async def _tell(self, parent: Parent, note: Note) -> None:
        """An Event; the condition says the same, so one that cannot be made is only logged."""
        try:
            await self._cluster.create(EVENT, event(parent, note, self._now()))
        except Conflict:
            return  # told already
        except ApiError as error:
            _log.warning(
                "an Event could not be made", extra={"about": f"{parent.kind.name} {parent.name}", "error": error.message}
            )

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)


def _locked(patch: Manifest, resource_version: str) -> Manifest:
    """The patch, refused by the server when the object is not the one that was read."""
    return {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": resource_version}}


def difference(before: Any, after: Any) -> Manifest:
    """The JSON merge patch that makes `after` of `before`; empty when they are equal."""
    patch: Manifest = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if nested := difference(old, value):
                patch[key] = nested
        elif key not in before or old != value:
            patch[key] = value
    return patch
