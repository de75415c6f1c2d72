"""The three kinds of store, as far as manifests tell: what is made, what pods are told, what an uninstall leaves."""

from collections.abc import Callable
from typing import Any

import pytest
from manifests import environment, names, of_kind, one, pod_templates

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

KEEP = {"helm.sh/resource-policy": "keep"}
STORE_PARTS = {
    "Deployment/windlass-store",
    "Service/windlass-store",
    "NetworkPolicy/windlass-store",
    "PersistentVolumeClaim/windlass-store",
    "Secret/windlass-store-credentials",
}
CLIENTS = ("windlass-operator", "windlass-preprocess", "windlass-train")
every_client = pytest.mark.parametrize("client", CLIENTS)


def s3(**settings: str) -> dict[str, Any]:
    return {"store": {"mode": "s3", "s3": {"bucket": "data", "existingSecret": "keys", **settings}}}


def key(secret: str, name: str, **more: Any) -> dict[str, Any]:
    return {"secretKeyRef": {"name": secret, "key": name, **more}}


def store_environment(manifests: list[Manifest], client: str) -> dict[str, Any]:
    told = environment(pod_templates(manifests)[client])
    return {name: value for name, value in told.items() if name.startswith("AWS_") or name == "WINDLASS_STORE_URL"}


def mounted_at(template: Manifest) -> dict[str, str]:
    """Where a template's container mounts volume claims: path to name of the claim."""
    volumes = [volume for volume in template["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in volumes}
    mounts = template["spec"]["containers"][0]["volumeMounts"]
    return {mount["mountPath"]: claims[mount["name"]] for mount in mounts if mount["name"] in claims}


def test_without_values_the_chart_brings_a_store_of_its_own(render: Render) -> None:
    assert names(render()) >= STORE_PARTS


@every_client
def test_the_embedded_store_is_told_to_everybody_alike(client: str, render: Render) -> None:
    assert store_environment(render(), client) == {
        "WINDLASS_STORE_URL": "s3://windlass",
        "AWS_ENDPOINT_URL": "http://windlass-store.windlass-system.svc:7070",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key("windlass-store-credentials", "AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": key("windlass-store-credentials", "AWS_SECRET_ACCESS_KEY"),
    }


def test_the_embedded_server_knows_the_same_credentials_and_its_bucket_is_a_folder_of_the_volume(render: Render) -> None:
    template = pod_templates(render())["windlass-store"]
    assert environment(template) == {
        "ROOT_ACCESS_KEY": key("windlass-store-credentials", "AWS_ACCESS_KEY_ID"),
        "ROOT_SECRET_KEY": key("windlass-store-credentials", "AWS_SECRET_ACCESS_KEY"),
    }
    (container,) = template["spec"]["containers"]
    assert container["args"][-2:] == ["posix", "/data"]
    assert mounted_at(template) == {"/data": "windlass-store", "/data/windlass": "windlass-store"}
    assert {"name": "data", "mountPath": "/data/windlass", "subPath": "windlass"} in container["volumeMounts"]


@pytest.mark.parametrize("name", ["PersistentVolumeClaim/windlass-store", "Secret/windlass-store-credentials"])
def test_an_uninstall_leaves_the_data_and_the_way_to_it(name: str, render: Render) -> None:
    assert one(render(), *name.split("/"))["metadata"]["annotations"] == KEEP


def test_made_credentials_are_long_and_differ_between_installs(render: Render) -> None:
    values = ({"logLevel": level} for level in ("INFO", "DEBUG"))  # two sets of values are two renderings
    first, second = (one(render(it), "Secret", "windlass-store-credentials")["data"]["AWS_SECRET_ACCESS_KEY"] for it in values)
    assert first != second
    assert len(first) >= 40


def test_the_embedded_store_takes_credentials_of_yours(render: Render) -> None:
    manifests = render({"store": {"embedded": {"existingSecret": "mine"}}})
    assert of_kind(manifests, "Secret") == []
    for client in CLIENTS:
        assert store_environment(manifests, client)["AWS_SECRET_ACCESS_KEY"] == key("mine", "AWS_SECRET_ACCESS_KEY")
    told = environment(pod_templates(manifests)["windlass-store"])
    assert told["ROOT_SECRET_KEY"] == key("mine", "AWS_SECRET_ACCESS_KEY")


def test_the_volume_has_the_asked_size_and_class(render: Render) -> None:
    claim = one(
        render({"store": {"embedded": {"size": "2Ti", "storageClass": "fast"}}}), "PersistentVolumeClaim", "windlass-store"
    )
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "2Ti"}},
    }


def test_without_a_class_the_volume_takes_the_clusters_default(render: Render) -> None:
    assert "storageClassName" not in one(render(), "PersistentVolumeClaim", "windlass-store")["spec"]


@every_client
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, {"WINDLASS_STORE_URL": "s3://data", "AWS_REGION": "us-east-1"}, id="AWS itself"),
        pytest.param(
            {"endpoint": "https://minio.example.com", "prefix": "/team/windlass/", "region": "eu-1"},
            {
                "WINDLASS_STORE_URL": "s3://data/team/windlass",
                "AWS_ENDPOINT_URL": "https://minio.example.com",
                "AWS_REGION": "eu-1",
            },
            id="a service of one's own, a folder, a region",
        ),
    ],
)
def test_a_bucket_is_told_to_everybody_alike(
    client: str, settings: dict[str, str], expected: dict[str, str], render: Render
) -> None:
    assert store_environment(render(s3(**settings)), client) == {
        **expected,
        "AWS_ACCESS_KEY_ID": key("keys", "AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": key("keys", "AWS_SECRET_ACCESS_KEY"),
        "AWS_SESSION_TOKEN": key("keys", "AWS_SESSION_TOKEN", optional=True),
    }


@every_client
def test_names_that_look_like_numbers_stay_names(client: str, render: Render) -> None:
    told = store_environment(render(s3(region="1", existingSecret="0123")), client)
    assert told["AWS_REGION"] == "1"
    assert told["AWS_ACCESS_KEY_ID"] == key("0123", "AWS_ACCESS_KEY_ID")


def test_a_class_that_looks_like_a_number_stays_a_name(render: Render) -> None:
    claim = one(render({"store": {"embedded": {"storageClass": "10"}}}), "PersistentVolumeClaim", "windlass-store")
    assert claim["spec"]["storageClassName"] == "10"


def test_with_a_bucket_the_chart_brings_no_store_and_lets_its_services_out(render: Render) -> None:
    manifests = render(s3())
    assert names(manifests) & STORE_PARTS == set()
    assert one(manifests, "NetworkPolicy", "windlass-preprocess")["spec"]["egress"] == [{}]


def test_a_shared_volume_is_mounted_where_the_operator_mounts_it(render: Render) -> None:
    manifests = render({"store": {"mode": "volume", "volume": {"size": "5Gi", "storageClass": "nfs"}}})
    assert names(manifests) & STORE_PARTS == {"PersistentVolumeClaim/windlass-store"}
    claim = one(manifests, "PersistentVolumeClaim", "windlass-store")
    assert claim["metadata"]["annotations"] == KEEP
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["storageClassName"] == "nfs"
    for client in CLIENTS:
        assert store_environment(manifests, client) == {"WINDLASS_STORE_URL": "file:///var/lib/windlass/store"}
    for client in ("windlass-preprocess", "windlass-train"):
        assert mounted_at(pod_templates(manifests)[client]) == {"/var/lib/windlass/store": "windlass-store"}


def test_a_shared_volume_that_is_there_is_not_made(render: Render) -> None:
    manifests = render({"store": {"mode": "volume", "volume": {"create": False}}})
    assert of_kind(manifests, "PersistentVolumeClaim") == []
    assert mounted_at(pod_templates(manifests)["windlass-train"]) == {"/var/lib/windlass/store": "windlass-store"}


def test_a_shared_volume_keeps_the_operator_to_the_releases_namespace(render: Render) -> None:
    told = environment(pod_templates(render({"store": {"mode": "volume"}}))["windlass-operator"])
    assert told["WINDLASS_NAMESPACES"] == "windlass-system"
    assert told["WINDLASS_STORE_MODE"] == "volume"
