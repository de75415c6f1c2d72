"""The rights of the operator, one by one: a right more is a change of this table, and so is a right less."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from manifests import names, of_kind, one

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

READ = ("get", "list", "watch")
# What the operator does: resource in its group, name if limited to one, verbs.
USED: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("windlass.dev", "datasets", ""): READ,
    ("windlass.dev", "trainingjobs", ""): READ,
    ("windlass.dev", "inferenceservices", ""): READ,
    ("windlass.dev", "models", ""): (*READ, "create", "patch"),
    ("windlass.dev", "datasets/status", ""): ("patch",),
    ("windlass.dev", "trainingjobs/status", ""): ("patch",),
    ("windlass.dev", "models/status", ""): ("patch",),
    ("windlass.dev", "inferenceservices/status", ""): ("patch",),
    ("windlass.dev", "datasets/finalizers", ""): ("update",),
    ("windlass.dev", "trainingjobs/finalizers", ""): ("update",),
    ("windlass.dev", "inferenceservices/finalizers", ""): ("update",),
    ("batch", "jobs", ""): (*READ, "create", "delete"),
    ("", "pods", ""): ("list", "watch"),
    ("apps", "deployments", ""): (*READ, "create", "patch"),
    ("", "services", ""): (*READ, "create", "patch", "delete"),
    ("autoscaling", "horizontalpodautoscalers", ""): (*READ, "create", "patch"),
    ("policy", "poddisruptionbudgets", ""): (*READ, "create", "patch"),
    ("networking.k8s.io", "networkpolicies", ""): (*READ, "create", "patch"),
    ("", "secrets", "windlass-store"): ("create", "patch", "delete"),
    ("", "events", ""): ("create", "list"),
}
NAMESPACED = pytest.mark.parametrize(
    ("values", "namespaces"),
    [({"namespaces": ["a", "b"]}, ["a", "b"]), ({"store": {"mode": "volume"}}, ["windlass-system"])],
    ids=["in the listed namespaces", "with a volume in its own namespace"],
)


def rights(role: Manifest) -> Iterator[tuple[tuple[str, str, str], tuple[str, ...]]]:
    """Each right of a role, once a resource."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    yield (group, resource, name), tuple(rule["verbs"])


def test_the_operator_may_do_what_it_does_and_nothing_else(render: Render) -> None:
    found = list(rights(one(render(), "ClusterRole", "windlass-operator")))
    assert len(found) == len(dict(found)), "a resource stands in two rules"
    assert {resource: set(verbs) for resource, verbs in found} == {resource: set(verbs) for resource, verbs in USED.items()}


def test_no_right_is_a_star_and_no_secret_can_be_read(render: Render) -> None:
    for (group, resource, name), verbs in rights(one(render(), "ClusterRole", "windlass-operator")):
        assert "*" not in (group, resource, *verbs)
        if resource == "secrets":
            assert name
            assert not set(READ) & set(verbs)


@NAMESPACED
def test_an_install_that_keeps_to_namespaces_has_no_right_beyond(
    values: dict[str, Any], namespaces: list[str], render: Render
) -> None:
    manifests = render(values)
    assert of_kind(manifests, "ClusterRole", "ClusterRoleBinding") == []
    roles, bindings = of_kind(manifests, "Role"), of_kind(manifests, "RoleBinding")
    assert [role["metadata"]["namespace"] for role in roles] == namespaces
    assert [binding["metadata"]["namespace"] for binding in bindings] == namespaces
    for role in roles:
        assert dict(rights(role)).keys() == USED.keys()


@pytest.mark.parametrize("values", [{}, {"namespaces": ["a"]}], ids=["everywhere", "in one namespace"])
def test_the_rights_are_bound_to_the_operators_account(values: dict[str, Any], render: Render) -> None:
    manifests = render(values)
    (binding,) = of_kind(manifests, "ClusterRoleBinding", "RoleBinding")
    assert f"{binding['roleRef']['kind']}/{binding['roleRef']['name']}" in names(manifests)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "windlass-operator", "namespace": "windlass-system"}]
    account = one(manifests, "ServiceAccount", "windlass-operator")
    assert account["automountServiceAccountToken"] is False
    pod = one(manifests, "Deployment", "windlass-operator")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]


def test_who_may_view_or_edit_a_namespace_may_do_so_with_our_kinds(render: Render) -> None:
    manifests = render()
    view, edit = (one(manifests, "ClusterRole", f"windlass-{role}") for role in ("view", "edit"))
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert {verbs for _, verbs in rights(view)} == {READ}
    kinds = {"datasets", "trainingjobs", "models", "inferenceservices"}
    assert {resource for (_, resource, _), _ in rights(view)} == kinds
    assert {resource for (_, resource, _), _ in rights(edit)} == {*kinds, "inferenceservices/scale"}
