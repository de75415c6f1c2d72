"""The operator's process: read the settings, build the parts, run until told to stop.

If any part ends with an error, so does the process, and Kubernetes starts it anew; a part that has silently ended would leave
an operator that does nothing.
"""

import asyncio
import logging
import os
import sys
from datetime import UTC, datetime

import kopf

from windlass_core import log
from windlass_operator.api import PARENTS, WATCHED_CHILDREN, ApiError, Key
from windlass_operator.cluster import KubernetesCluster
from windlass_operator.handlers import operator_registry, operator_settings
from windlass_operator.health import Health
from windlass_operator.intake import Intake
from windlass_operator.progress import ProgressScraper
from windlass_operator.queue import WorkQueue
from windlass_operator.reconcile import Reconciler
from windlass_operator.resync import Resync
from windlass_operator.served import wait_until_served
from windlass_operator.settings import Settings, SettingsError
from windlass_operator.streams import Streams

# Keys worked on at the same time. A round waits for the API server most of its time; more would only make that one wait.
WORKERS = 20

_log = logging.getLogger(__name__)


def main() -> int:
    """Run the operator; the exit code is 0 only after a signal asked it to stop."""
    log.configure("windlass-operator")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment(os.environ)
        asyncio.run(run(settings))
    except (SettingsError, ApiError) as error:
        _log.error("the operator cannot start: %s", error)
        return 1
    except Exception:  # noqa: BLE001  (the outermost frame: the log has to say why the process ends)
        _log.exception("the operator ends after an error")
        return 1
    return 0


async def run(settings: Settings) -> None:
    """Run all parts until a signal comes or one of them fails."""
    cluster = await KubernetesCluster.connect()
    try:
        await _run_parts(settings, cluster)
    finally:
        await cluster.close()


async def _run_parts(settings: Settings, cluster: KubernetesCluster) -> None:
    queue: WorkQueue[Key] = WorkQueue(lambda key: reconciler(key), workers=WORKERS)
    scraper = ProgressScraper(changed=queue.add)
    reconciler = Reconciler(cluster, settings, scraper, clock=lambda: datetime.now(UTC))
    intake = Intake(queue)
    resync = Resync(cluster, intake, queue, settings.namespaces)
    streams = Streams((*PARENTS, *WATCHED_CHILDREN), settings.namespaces)
    health = Health(queue, resync, streams)
    async with asyncio.TaskGroup() as group:
        parts = [
            group.create_task(queue.run(), name="queue"),
            group.create_task(scraper.run(), name="progress"),
            group.create_task(resync.run(), name="resync"),
            group.create_task(cluster.keep_warm(), name="connections"),
            group.create_task(health.serve(settings.port), name="health"),
        ]
        # At its end kopf waits 5 s for tasks that were not there when it began, taking them for its own. Let all of ours begin.
        await asyncio.sleep(0)
        await kopf.operator(
            registry=operator_registry(intake, streams, lambda: wait_until_served(cluster, settings.namespaces)),
            settings=operator_settings(),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
        )
        for part in parts:
            part.cancel()


if __name__ == "__main__":
    sys.exit(main())
