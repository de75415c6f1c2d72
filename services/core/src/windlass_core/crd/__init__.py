"""The CRDs of the four kinds, made from their pydantic models, and the reference pages made from the CRDs.

    structural.py   a pydantic model to the structural OpenAPI schema that the API server takes
    kinds.py        what a model cannot say: names, printer columns, rules on the object's own name
    definition.py   both together: one CustomResourceDefinition
    reference.py    a definition to a page of documentation
    __main__.py     writes the files: `python -m windlass_core.crd CRDS_FOLDER REFERENCE_FOLDER`

Runs where the project is built, never in a cluster. Knows no chart and no client: it takes models and gives dicts and text.
"""

from windlass_core.crd.definition import definition, definitions
from windlass_core.crd.kinds import KINDS, Kind
from windlass_core.crd.structural import structural_schema

__all__ = ["KINDS", "Kind", "definition", "definitions", "structural_schema"]
