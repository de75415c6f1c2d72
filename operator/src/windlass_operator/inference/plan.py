"""Decides what an InferenceService needs next, and whether it may call itself ready. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from windlass_core.contracts import VersionReference
from windlass_core.resources import InferenceServiceSpec, InferenceServiceStatus
from windlass_core.resources.common import ModelVersionReference
from windlass_core.resources.inference_service import ReplicaStatus
from windlass_operator import conditions
from windlass_operator.api import AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, NETWORK_POLICY, SERVICE, Kind, Manifest
from windlass_operator.compare import covers, ownership
from windlass_operator.conditions import Verdict
from windlass_operator.inference import health, manifests
from windlass_operator.inference.version import resolve
from windlass_operator.plan import Action, Apply, Context, Parent, Patch, Plan
from windlass_operator.pods import Pod
from windlass_operator.verdicts import CLEANUP_POLL, first_obstacle, invalid_spec, store_out_of_reach

READY = "Ready"
AVAILABLE = "Available"
CHILD_KINDS = (DEPLOYMENT, SERVICE, AUTOSCALER, DISRUPTION_BUDGET, NETWORK_POLICY)
# The number of pods is the autoscaler's. The first number is written under another name, so that server-side apply never takes
# it for ours and never takes it away.
SCALE_MANAGER = "windlass-scale"


@dataclass(frozen=True)
class SeenInferenceService:
    """An InferenceService, its Model, and what there is of its children.

    Attributes:
        children: the existing child of each kind, whoever owns it.
    """

    parent: Parent
    model: Manifest | None = None
    children: Mapping[Kind, Manifest] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()


def plan_inference_service(seen: SeenInferenceService, context: Context) -> Plan:
    """The writes that bring a service on."""
    parent = seen.parent
    if parent.deleting:
        return Plan()
    status = InferenceServiceStatus.model_validate(parent.status)
    try:
        spec = InferenceServiceSpec.model_validate(parent.spec)
    except ValidationError as error:
        return _settled(seen, status, invalid_spec(error), context)
    if verdict := store_out_of_reach(parent, context):
        return _settled(seen, status, verdict, context)
    names = [(kind, parent.name, ownership(parent, seen.children.get(kind))) for kind in CHILD_KINDS]
    if obstacle := first_obstacle(names):
        return _settled(seen, status, obstacle, context, requeue_after=CLEANUP_POLL)
    return _plan_children(seen, spec, status, context)


def _plan_children(
    seen: SeenInferenceService, spec: InferenceServiceSpec, status: InferenceServiceStatus, context: Context
) -> Plan:
    parent, live = seen.parent, seen.children.get(DEPLOYMENT)
    resolved = resolve(spec.model, seen.model)
    wanted = manifests.companions(parent, spec, context.settings)
    if isinstance(resolved, Verdict):
        # What serves goes on serving; without anything that serves there is nothing to scale or to protect either.
        message = f"{resolved.message}{health.still(seen.pods)}"
        verdict = Verdict("False", resolved.reason, message, resolved.problem)
        return _settled(seen, status, verdict, context, _applies(seen, wanted) if live else ())
    model = resolved.reference
    pod = manifests.template(parent, spec, model, resolved.formats, context.settings)
    applies = _applies(seen, {DEPLOYMENT: manifests.deployment(parent, pod), **wanted})
    revision = pod["metadata"]["labels"][manifests.REVISION_LABEL]
    view = health.View(
        pods=seen.pods,
        revision=revision,
        version=model.version,
        needed=spec.replicas.min,
        deployment=live,
        # An answer counts only in a round after the one that saw the revision first: until then it may be an old pod's.
        told=context.progress if status.revision == revision else None,
    )
    after = _described(seen, status, spec, model, view)
    verdict = health.ready(view)
    after = _with_engine(after, status, view)
    refresh = verdict.reason == "ContainerConfigError"
    # A pod that loads tells what it waits for, one that answers tells once what runs its model; then nobody is asked any more.
    asked = view.loading or (view.updated if after.engine is None else ())
    endpoint = asked[0].address if asked else None
    actions = (*applies, *_first_scale(seen, spec))
    return _settled(seen, after, verdict, context, actions, refresh_secret=refresh, endpoint=endpoint)


def _applies(seen: SeenInferenceService, wanted: Mapping[Kind, Manifest]) -> tuple[Action, ...]:
    """The children that are not yet as they should be."""
    return tuple(
        Apply(kind, manifest)
        for kind, manifest in wanted.items()
        if (live := seen.children.get(kind)) is None or not covers(live, manifest)
    )


def _first_scale(seen: SeenInferenceService, spec: InferenceServiceSpec) -> tuple[Action, ...]:
    """As many pods as asked for at once, instead of when the autoscaler comes round; a new Deployment has one."""
    replicas = (seen.children.get(DEPLOYMENT) or {}).get("spec", {}).get("replicas", 1)
    if replicas >= spec.replicas.min:
        return ()
    patch = {"spec": {"replicas": spec.replicas.min}}
    return (Patch(DEPLOYMENT, seen.parent.namespace, seen.parent.name, patch, manager=SCALE_MANAGER),)


def _described(
    seen: SeenInferenceService,
    status: InferenceServiceStatus,
    spec: InferenceServiceSpec,
    model: VersionReference,
    view: health.View,
) -> InferenceServiceStatus:
    parent = seen.parent
    asked = (view.deployment or {}).get("spec", {}).get("replicas", spec.replicas.min)
    return status.model_copy(
        update={
            "url": f"http://{parent.name}.{parent.namespace}.svc",
            "model": ModelVersionReference(name=model.name, version=model.version, digest=model.digest),
            "replicas": ReplicaStatus(
                ready=len(health.serving(seen.pods)),
                updated=len(view.updated),
                desired=max(asked, spec.replicas.min),
            ),
            "selector": ",".join(f"{name}={value}" for name, value in sorted(manifests.selector(parent).items())),
        }
    )


def _with_engine(after: InferenceServiceStatus, before: InferenceServiceStatus, view: health.View) -> InferenceServiceStatus:
    """What runs the model in the pods of the wanted revision; None until one of them has told."""
    known = before.engine if before.revision == view.revision else None
    told = view.told.engine if view.told else None
    return after.model_copy(update={"revision": view.revision, "engine": known or told})


def _settled(
    seen: SeenInferenceService,
    status: InferenceServiceStatus,
    verdict: Verdict,
    context: Context,
    actions: tuple[Action, ...] = (),
    *,
    requeue_after: float | None = None,
    refresh_secret: bool = False,
    endpoint: str | None = None,
) -> Plan:
    generation = seen.parent.generation
    verdicts = {READY: verdict, AVAILABLE: health.available(seen.pods)}
    replicas = status.replicas
    if replicas is not None and verdict.status != "True":
        replicas = replicas.model_copy(update={"ready": len(health.serving(seen.pods))})
    after = status.model_copy(
        update={
            "observed_generation": generation,
            "replicas": replicas,
            "conditions": conditions.settle(status.conditions, verdicts, generation=generation, now=context.now),
        }
    )
    return Plan(
        actions=actions,
        status=after.to_json(),
        notes=conditions.notes(status.conditions, READY, verdict),
        requeue_after=requeue_after,
        endpoint=endpoint,
        refresh_secret=refresh_secret,
    )
