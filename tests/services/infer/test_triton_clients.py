"""The protocol's best known clients, unchanged, against a real server: what they send is understood, what they get is right."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

TOKEN = "a-token-of-enough-length"
BEARER = {"authorization": f"Bearer {TOKEN}"}
ROWS = np.array([[1, 2, 9], [9, 0, 0]], dtype=np.float32)


@pytest.fixture(scope="module")
def running(examples: dict[str, Any], serve_example: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """A server with both ports for each of two models."""
    with ExitStack() as stack:
        variables = {"WINDLASS_REPOSITORY_TOKEN": TOKEN}
        yield {name: stack.enter_context(serve_example(examples[name], **variables)) for name in ("numbers", "mixed")}


@pytest.fixture(scope="module", params=["http", "grpc"])
def library(request: pytest.FixtureRequest) -> Any:
    return {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]


@pytest.fixture
def client(library: Any, running: dict[str, Any]) -> Iterator[Any]:
    server = running["numbers"]
    with library.InferenceServerClient(server.address if library is tritonclient.http else server.grpc_address) as client:
        yield client


@pytest.fixture
def mixed_client(library: Any, running: dict[str, Any]) -> Iterator[Any]:
    server = running["mixed"]
    with library.InferenceServerClient(server.address if library is tritonclient.http else server.grpc_address) as client:
        yield client


def numbers_input(library: Any, values: Any = ROWS) -> Any:
    tensor = library.InferInput("features", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    return tensor


def test_the_server_lives_and_is_ready_and_so_is_the_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("service")
    assert client.is_model_ready("service", "1")


def as_dict(answer: Any, library: Any) -> dict[str, Any]:
    if library is tritonclient.http:
        return dict(answer)
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(answer, preserving_proto_field_name=True)


def test_metadata_says_what_the_server_and_the_model_are(client: Any, library: Any) -> None:
    server = as_dict(client.get_server_metadata(), library)
    assert server["name"] == "windlass-infer"
    extensions = {"binary_tensor_data", "classification", "schedule_policy", "statistics", "model_repository"}
    assert set(server["extensions"]) == extensions
    model = as_dict(client.get_model_metadata("service"), library)
    assert (model["name"], model["versions"], model["platform"]) == ("service", ["1"], "onnxruntime_onnx")
    assert [(one["name"], one["datatype"], list(map(int, one["shape"]))) for one in model["inputs"]] == [
        ("features", "FP32", [-1, 3])
    ]


def test_an_answer_has_the_tensors_the_id_and_the_version(client: Any, library: Any) -> None:
    result = client.infer("service", [numbers_input(library)], request_id="mine")
    assert result.as_numpy("label").tolist() == [8, 3]
    assert result.as_numpy("probabilities").shape == (2, 3)
    answer = as_dict(result.get_response(), library)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("service", "1", "mine")


def test_outputs_are_chosen_and_a_version_is_named(client: Any, library: Any) -> None:
    wanted = [library.InferRequestedOutput("probabilities")]
    result = client.infer("service", [numbers_input(library)], model_version="1", outputs=wanted)
    assert result.as_numpy("label") is None
    np.testing.assert_allclose(result.as_numpy("probabilities").sum(axis=1), 1, atol=1e-6)


def test_statistics_count_what_was_answered(client: Any, library: Any) -> None:
    def rows() -> int:
        [one] = as_dict(client.get_inference_statistics("service"), library)["model_stats"]
        assert (one["name"], one["version"]) == ("service", "1")
        return int(one["inference_count"])

    before = rows() if client.infer("service", [numbers_input(library)]) else 0
    client.infer("service", [numbers_input(library)])
    assert rows() == before + len(ROWS)


def test_the_repository_is_listed_and_a_version_loaded_again_for_who_has_the_token(client: Any, library: Any) -> None:
    def index() -> list[tuple[str, str, str]]:
        listed = client.get_model_repository_index(headers=BEARER)
        entries = listed if library is tritonclient.http else as_dict(listed, library)["models"]
        return [(entry["name"], entry["version"], entry["state"]) for entry in entries]

    assert index() == [("service", "1", "READY")]
    client.load_model("service", headers=BEARER)
    assert index() == [("service", "1", "READY")]
    with pytest.raises(InferenceServerException, match="other"):
        client.unload_model("other", headers=BEARER)


def test_the_repository_is_closed_to_others(client: Any) -> None:
    for change in (client.get_model_repository_index, lambda: client.load_model("service")):
        with pytest.raises(InferenceServerException, match="Authorization: Bearer") as refusal:
            change()
        assert refusal.value.status() in ("401", "StatusCode.UNAUTHENTICATED")


def test_the_best_classes_are_named(client: Any, library: Any) -> None:
    wanted = [library.InferRequestedOutput("probabilities", class_count=2)]
    best = client.infer("service", [numbers_input(library)], outputs=wanted).as_numpy("probabilities")
    assert best.shape == (2, 2)
    assert [value.decode().split(":")[1:] for value in best[:, 0]] == [["2", "8"], ["0", "3"]]


def test_a_request_can_bring_its_time_limit_and_priority(client: Any, library: Any) -> None:
    options: dict[str, Any] = {"timeout": 5_000_000, "priority": 1}
    assert client.infer("service", [numbers_input(library)], **options).as_numpy("label").tolist() == [8, 3]


def test_text_and_numbers_of_other_types_go_by_their_columns(mixed_client: Any, library: Any) -> None:
    columns: dict[str, tuple[str, Any]] = {
        "island": ("BYTES", np.array(["Dream", "Biscoe"], dtype=object)),
        "mass": ("FP64", np.array([3750.5, 4000.0])),
        "ringed": ("BOOL", np.array([True, False])),
        "seen": ("BYTES", np.array(["2008-11-01", "2007-01-31"], dtype=object)),
        "year": ("INT64", np.array([2008, 1999])),
    }
    inputs = []
    for name, (datatype, values) in columns.items():
        inputs.append(library.InferInput(name, [2], datatype))
        inputs[-1].set_data_from_numpy(values)
    result = mixed_client.infer("service", inputs)
    assert [label.decode() for label in result.as_numpy("label")] == ["Adélie", "Gentoo"]


def test_many_at_once_get_their_own_answers(library: Any, running: dict[str, Any]) -> None:
    server = running["numbers"]
    if library is tritonclient.http:
        client = library.InferenceServerClient(server.address, concurrency=8)
    else:
        client = library.InferenceServerClient(server.grpc_address)
    with client:
        for number in range(50):
            rows = np.roll(np.array([[99, 0, 0], [0, 99, 0], [0, 0, 999]], np.float32), number, axis=0)
            expected = np.roll([3, 5, 8], number).tolist()
            assert client.infer("service", [numbers_input(library, rows)]).as_numpy("label").tolist() == expected


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a model that is not there": ({"model_name": "other"}, "other", "NOT_FOUND"),
    "a version that is not there": ({"model_version": "7"}, "version", "NOT_FOUND"),
    "a sequence": ({"sequence_id": 5, "sequence_start": True}, "sequence_id is not supported", "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize(("changed", "reason", "code"), REFUSED.values(), ids=REFUSED)
def test_a_request_is_refused_for(client: Any, library: Any, changed: dict[str, Any], reason: str, code: str) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(**({"model_name": "service", "inputs": [numbers_input(library)]} | changed))
    assert reason in str(refusal.value.message())
    http_status = {"NOT_FOUND": "404", "INVALID_ARGUMENT": "400"}[code]
    assert refusal.value.status() in (http_status, f"StatusCode.{code}")


def test_a_wrong_shape_is_refused_with_the_right_one(client: Any, library: Any) -> None:
    with pytest.raises(InferenceServerException, match=r"has shape \[1, 2\]; it must be \[rows, 3\]"):
        client.infer("service", [numbers_input(library, np.zeros((1, 2), np.float32))])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_http_bodies_are_packed_both_ways(running: dict[str, Any], algorithm: str) -> None:
    rows = np.tile(ROWS, (4096, 1))
    with tritonclient.http.InferenceServerClient(running["numbers"].address) as client:
        result = client.infer(
            "service",
            [numbers_input(tritonclient.http, rows)],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    assert result.as_numpy("label").tolist() == [8, 3] * 4096


def test_http_tensors_go_as_json_where_the_client_wants_it(running: dict[str, Any]) -> None:
    tensor = tritonclient.http.InferInput("features", [2, 3], "FP32")
    tensor.set_data_from_numpy(ROWS, binary_data=False)
    wanted = [tritonclient.http.InferRequestedOutput("label", binary_data=False)]
    with tritonclient.http.InferenceServerClient(running["numbers"].address) as client:
        assert client.infer("service", [tensor], outputs=wanted).as_numpy("label").tolist() == [8, 3]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_grpc_messages_are_packed(running: dict[str, Any], algorithm: str) -> None:
    with tritonclient.grpc.InferenceServerClient(running["numbers"].grpc_address) as client:
        result = client.infer("service", [numbers_input(tritonclient.grpc)], compression_algorithm=algorithm)
    assert result.as_numpy("label").tolist() == [8, 3]
