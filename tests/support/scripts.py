"""Programs of the repository that are no modules of a package, to be called by tests."""

from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from layout import REPOSITORY


def script_at(path: str) -> ModuleType:
    """The program at a path of the repository, imported anew."""
    file = REPOSITORY / path
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
