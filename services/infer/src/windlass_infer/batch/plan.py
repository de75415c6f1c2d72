"""What a run was asked for and what that came to, written before its first part: whoever writes it owns the output folder.

A run that is started again finds its own plan and keeps to it: the same version, the same files, the same partitions, hence the
same bytes, whatever was published or uploaded meanwhile. Another run finds a plan that is not its own, and leaves.
"""

from typing import Literal

from pydantic import Field, ValidationError

from windlass_core.contracts import InferRun, VersionReference
from windlass_core.errors import BadConfiguration, BadData, Conflict, NotFound
from windlass_core.manifests import ManifestModel
from windlass_core.raw_files import Format
from windlass_core.store import URI_SCHEME, Store

# Like the manifest, of a name that readers of Parquet folders pass over, and so does the source of a Dataset.
PLAN_FILE = "_plan.json"
# Raised when a release makes other bytes of the same input.
REVISION = 1
# What may differ between two starts of one run: it changes how fast the parts come, not what is in them.
_NOT_ASKED = {"engines"}


class PlannedFile(ManifestModel):
    """One input file.

    Attributes:
        path: inside the Dataset version, or in the store for a raw file.
        bytes: its size.
        tag: the store's tag of a raw file's content, which differs when the content does.
        sha256: of a file of a Dataset version.
    """

    path: str
    bytes: int
    tag: str | None = None
    sha256: str | None = None


class Plan(ManifestModel):
    """One run."""

    revision: int = REVISION
    asked: InferRun
    model: VersionReference
    dataset: VersionReference | None = Field(default=None, description="None where the input are raw files.")
    format: Format
    files: list[PlannedFile]
    partition_rows: int
    batch_rows: int
    schema_version: Literal[1] = 1

    def uri(self, file: PlannedFile) -> str:
        """What messages and manifests name an input file by."""
        return f"{self.dataset.uri}/{file.path}" if self.dataset else f"{URI_SCHEME}{file.path}"


def read_plan(store: Store, folder: str, asked: InferRun) -> Plan | None:
    """The plan of this run, where it was started before; None in a folder without a plan.

    Raises:
        BadConfiguration: another run owns the folder; its reason is OutputTaken.
        BadData: the plan cannot be read by this release.
    """
    path = f"{folder}/{PLAN_FILE}"
    try:
        data = store.read(path)
    except NotFound:
        return None
    try:
        plan = Plan.model_validate_json(data)
    except ValidationError as error:
        raise BadData(f"{URI_SCHEME}{path} is no plan that this release can read: {error.errors()[0]['msg']}") from error
    if plan.asked.model_dump(exclude=_NOT_ASKED) != asked.model_dump(exclude=_NOT_ASKED) or plan.revision != REVISION:
        sentence = f"{URI_SCHEME}{folder} holds the predictions of another run, as its {PLAN_FILE} says; choose another folder"
        raise BadConfiguration(sentence, reason="OutputTaken")
    return plan


def own(store: Store, folder: str, plan: Plan) -> Plan:
    """The plan that holds: this one, or that of the same run which another pod was faster to write. Raises as `read_plan`."""
    try:
        store.create(f"{folder}/{PLAN_FILE}", plan.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode())
    except Conflict:
        return read_plan(store, folder, plan.asked) or plan
    return plan
