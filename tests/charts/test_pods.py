"""Every pod of every way to install: what it may do, what it asks for, how it is found."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from manifests import environment, names, of_kind, one, pod_templates, selected, strings
from pod_security import containers, violations

from windlass_core import __version__
from windlass_core.server import DRAIN_DELAY_SECONDS, DRAIN_SECONDS, LINGER_SECONDS
from windlass_preprocess.__main__ import DRAIN_SECONDS as UPLOAD_DRAIN

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

S3 = {"store": {"mode": "s3", "s3": {"bucket": "data", "existingSecret": "keys"}}}
INSTALLS: dict[str, dict[str, Any]] = {
    "without values": {},
    "with a bucket": S3,
    "with a volume": {"store": {"mode": "volume"}},
    "in two namespaces": {"namespaces": ["a", "b"]},
}
every_install = pytest.mark.parametrize("values", INSTALLS.values(), ids=INSTALLS.keys())

OURS = {"windlass-operator", "windlass-preprocess", "windlass-train"}
CPU_BUDGET = Fraction(400, 1000)  # cores; the rest of a 2-core node is for training and for answers


@every_install
def test_every_pod_passes_the_restricted_standard(values: dict[str, Any], render: Render) -> None:
    templates = pod_templates(render(values))
    assert templates.keys() >= OURS
    assert {name: violations(template["spec"]) for name, template in templates.items()} == {name: [] for name in templates}


@every_install
def test_every_root_file_system_is_read_only_and_tmp_is_not(values: dict[str, Any], render: Render) -> None:
    for template in pod_templates(render(values)).values():
        for container in containers(template["spec"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108


@every_install
def test_process_1_of_every_pod_is_none_of_its_programs_as_it_would_ignore_an_early_sigterm(
    values: dict[str, Any], render: Render
) -> None:
    assert all(template["spec"]["shareProcessNamespace"] is True for template in pod_templates(render(values)).values())


@every_install
def test_only_the_operator_holds_a_token_of_kubernetes(values: dict[str, Any], render: Render) -> None:
    holders = {
        name
        for name, template in pod_templates(render(values)).items()
        if template["spec"].get("automountServiceAccountToken") is not False
    }
    assert holders == {"windlass-operator"}


@every_install
def test_credentials_stand_in_no_manifest_but_the_secret(values: dict[str, Any], render: Render) -> None:
    for template in pod_templates(render(values)).values():
        for variable, value in environment(template).items():
            if variable.startswith(("AWS_", "ROOT_")) and variable.endswith(("KEY", "KEY_ID", "TOKEN")):
                assert set(value) == {"secretKeyRef"}, variable


@every_install
def test_no_image_floats(values: dict[str, Any], render: Render) -> None:
    for manifest in render(values):
        for text in strings(manifest):
            assert not text.endswith(":latest"), text
    for template in pod_templates(render(values)).values():
        for container in containers(template["spec"]):
            assert container["image"].rpartition(":")[2], container["image"]


@every_install
def test_every_object_says_what_it_belongs_to(values: dict[str, Any], render: Render) -> None:
    for manifest in render(values):
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "windlass"
        if manifest["kind"] != "CustomResourceDefinition":
            assert labels["app.kubernetes.io/instance"] == "windlass"
            assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_all_pods_together_ask_for_little_cpu(render: Render) -> None:
    asked = [
        container["resources"]["requests"]["cpu"]
        for template in pod_templates(render()).values()
        for container in containers(template["spec"])
    ]
    assert all(cpu.endswith("m") for cpu in asked)
    assert sum(Fraction(int(cpu.removesuffix("m")), 1000) for cpu in asked) <= CPU_BUDGET


def test_every_pod_has_a_limit_of_memory_and_none_of_cpu(render: Render) -> None:
    for template in pod_templates(render()).values():
        for container in containers(template["spec"]):
            assert set(container["resources"]["limits"]) == {"memory"}


@pytest.mark.parametrize("name", sorted(OURS | {"windlass-store"}))
def test_every_pod_is_probed_on_a_port_that_it_has(name: str, render: Render) -> None:
    (container,) = pod_templates(render())[name]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports


@pytest.mark.parametrize("name", ["windlass-operator", "windlass-store"])
def test_what_must_not_run_twice_is_recreated(name: str, render: Render) -> None:
    deployment = one(render(), "Deployment", name)
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("service", "port"), [("windlass-preprocess", 80), ("windlass-train", 80), ("windlass-store", 7070)], ids=lambda it: str(it)
)
def test_every_service_leads_to_a_port_of_a_pod(service: str, port: int, render: Render) -> None:
    manifests = render()
    spec = one(manifests, "Service", service)["spec"]
    assert [entry["port"] for entry in spec["ports"]] == [port]
    selector = {"matchLabels": spec["selector"]}
    (template,) = (it for it in pod_templates(manifests).values() if selected(selector, it["metadata"]["labels"]))
    ports = {entry["name"] for entry in template["spec"]["containers"][0]["ports"]}
    assert {entry["targetPort"] for entry in spec["ports"]} <= ports


@every_install
def test_every_pod_has_a_network_policy_of_its_own(values: dict[str, Any], render: Render) -> None:
    manifests = render(values)
    policies = of_kind(manifests, "NetworkPolicy")
    for name, template in pod_templates(manifests).items():
        labels = template["metadata"]["labels"]
        assert [it["metadata"]["name"] for it in policies if selected(it["spec"]["podSelector"], labels)] == [name]


@pytest.mark.parametrize("component", ["preprocess", "train", "infer"])
def test_the_store_lets_in_pods_of_windlass_wherever_they_run(component: str, render: Render) -> None:
    (rule,) = one(render(), "NetworkPolicy", "windlass-store")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"] == {}
    assert selected(peer["podSelector"], {"app.kubernetes.io/name": f"windlass-{component}"})
    assert not selected(peer["podSelector"], {"app.kubernetes.io/name": "something-else"})


def test_network_policies_can_be_left_out(render: Render) -> None:
    assert of_kind(render({"networkPolicies": {"enabled": False}}), "NetworkPolicy") == []


def test_a_new_version_of_the_chart_alone_restarts_nothing(render: Render) -> None:
    for template in pod_templates(render()).values():
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & template["metadata"]["labels"].keys()


def test_all_names_follow_the_release(render: Render) -> None:
    own = [manifest for manifest in render(release="second") if manifest["kind"] != "CustomResourceDefinition"]
    assert [name for name in names(own) if not name.partition("/")[2].startswith("second-")] == []


def test_values_for_scheduling_and_pulling_reach_every_pod(render: Render) -> None:
    values = {
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "imagePullSecrets": ["registry"],
        "imagePullPolicy": "Always",
    }
    manifests = render(values)
    for template in pod_templates(manifests).values():
        spec = template["spec"]
        assert spec["nodeSelector"] == values["nodeSelector"]
        assert spec["tolerations"] == values["tolerations"]
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert [container["imagePullPolicy"] for container in containers(spec)] == ["Always"]
    told = environment(pod_templates(manifests)["windlass-operator"])
    assert told["WINDLASS_IMAGE_PULL_SECRETS"] == "registry"
    assert told["WINDLASS_IMAGE_PULL_POLICY"] == "Always"


def test_names_that_look_like_numbers_reach_pods_and_roles_as_names(render: Render) -> None:
    manifests = render({"imagePullSecrets": ["0123"], "namespaces": ["42"]})
    for template in pod_templates(manifests).values():
        assert template["spec"]["imagePullSecrets"] == [{"name": "0123"}]
    assert {manifest["metadata"]["namespace"] for manifest in of_kind(manifests, "Role", "RoleBinding")} == {"42"}


@every_install
def test_services_find_the_store_by_whatever_answers_names(values: dict[str, Any], render: Render) -> None:
    """A cache on the node has an address that no selector of pods matches."""
    for name in ("windlass-preprocess", "windlass-train"):
        egress = one(render(values), "NetworkPolicy", name)["spec"]["egress"]
        assert any("to" not in rule and 53 in [port["port"] for port in rule.get("ports", [{"port": 53}])] for rule in egress)


@pytest.mark.parametrize(
    ("name", "drain"), [("windlass-preprocess", UPLOAD_DRAIN), ("windlass-train", DRAIN_SECONDS)], ids=["uploads", "figures"]
)
def test_a_service_has_ended_before_it_is_killed(name: str, drain: float, render: Render) -> None:
    granted = pod_templates(render())[name]["spec"]["terminationGracePeriodSeconds"]
    assert DRAIN_DELAY_SECONDS + drain + LINGER_SECONDS < granted


DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("image", "rendered"),
    [
        pytest.param({}, f"windlass/train:{__version__}", id="the chart's version"),
        pytest.param({"tag": "1a2b"}, "windlass/train:1a2b", id="a tag"),
        pytest.param({"digest": DIGEST}, f"windlass/train@{DIGEST}", id="a digest"),
        pytest.param({"tag": "1a2b", "digest": DIGEST}, f"windlass/train:1a2b@{DIGEST}", id="a digest and a tag for people"),
        pytest.param({"repository": "r:5000/t", "digest": DIGEST}, f"r:5000/t@{DIGEST}", id="a digest in another registry"),
    ],
)
def test_an_image_is_named_by(image: dict[str, str], rendered: str, render: Render) -> None:
    templates = pod_templates(render({"images": {"train": image}}))
    assert [container["image"] for container in containers(templates["windlass-train"]["spec"])] == [rendered]
    assert environment(templates["windlass-operator"])["WINDLASS_IMAGE_TRAIN"] == rendered


LONGEST_RELEASE = "a" * 51 + "-b"  # Helm takes no name of more than 53 characters


@pytest.mark.parametrize("mode", [{}, {"store": {"mode": "volume"}}], ids=["embedded", "volume"])
def test_no_name_is_too_long_however_the_release_is_called(mode: dict[str, Any], render: Render) -> None:
    short, long = render(mode), render(mode, release=LONGEST_RELEASE)
    for manifest in of_kind(long, "Service", "Deployment"):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
    assert len(set(names(long))) == len(set(names(short))), "two components would share a name"


def test_the_operator_is_told_the_images_of_the_pods_it_makes(render: Render) -> None:
    images = {name: {"repository": f"registry.example/{name}", "tag": "1a2b"} for name in ("preprocess", "train", "infer")}
    told = environment(pod_templates(render({"images": images}))["windlass-operator"])
    for name in images:
        assert told[f"WINDLASS_IMAGE_{name.upper()}"] == f"registry.example/{name}:1a2b"


def test_pods_are_scraped_where_the_prometheus_operator_is_there(render: Render) -> None:
    values = {"monitoring": {"podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}}}}
    manifests = render(values)
    monitors = {it["metadata"]["name"]: it for it in of_kind(manifests, "PodMonitor")}
    assert set(monitors) == {"windlass-release", "windlass-objects"}
    for monitor in monitors.values():
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    scraped = {
        name
        for name, template in pod_templates(manifests).items()
        if selected(monitors["windlass-release"]["spec"]["selector"], template["metadata"]["labels"])
        and "http" in {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    }
    assert scraped == OURS
    assert selected(monitors["windlass-objects"]["spec"]["selector"], {"app.kubernetes.io/managed-by": "windlass"})
    assert of_kind(render(), "PodMonitor") == []
