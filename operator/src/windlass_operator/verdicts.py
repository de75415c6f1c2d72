"""Verdicts that all planners share: an invalid spec, a name that is taken, a store out of reach. Pure."""

from collections.abc import Iterable

from pydantic import ValidationError

from windlass_operator.api import Kind
from windlass_operator.compare import Ownership
from windlass_operator.conditions import Verdict
from windlass_operator.plan import Context, Parent

# Seconds between looks whether a controller is kept from making pods; only its Events tell.
REFUSAL_POLL = 3.0
# Seconds after which to look again where garbage collection, which tells nobody, has to finish first.
CLEANUP_POLL = 1.0


def invalid_spec(error: ValidationError) -> Verdict:
    """The spec is not one that this version takes, for example because it is older than a rule."""
    first = error.errors()[0]
    where = ".".join(("spec", *(str(part) for part in first["loc"])))
    return Verdict("False", "InvalidSpec", f"{where}: {first['msg']}. Correct the spec.", problem=True)


def name_taken(kind: Kind, name: str) -> Verdict:
    """Somebody else's object has the name of a child; it is not touched."""
    message = f"A {kind.name} named {name} is there that does not belong to this object; rename or delete one of the two."
    return Verdict("False", "NameTaken", message, problem=True)


def leftover(kind: Kind, name: str) -> Verdict:
    """A child of an earlier object of the same name is still being removed."""
    return Verdict("False", "WaitingForCleanup", f"The {kind.name} {name} of an earlier object of this name is being removed.")


def store_out_of_reach(parent: Parent, context: Context) -> Verdict | None:
    """Whether the store is a volume of another namespace; None when pods of this one can reach it."""
    own, store = context.settings.own_namespace, context.settings.store
    if store.mode != "volume" or not own or parent.namespace == own:
        return None
    message = (
        f"The store is a volume of namespace {own}, which no other namespace can reach. Make the object there, or install the "
        "chart with store.mode embedded or s3."
    )
    return Verdict("False", "StoreOutOfReach", message, problem=True)


def first_obstacle(children: Iterable[tuple[Kind, str, Ownership]]) -> Verdict | None:
    """The verdict on the first child whose name is not free for us."""
    for kind, name, owned in children:
        if owned is Ownership.FOREIGN:
            return name_taken(kind, name)
        if owned is Ownership.LEFTOVER:
            return leftover(kind, name)
    return None
