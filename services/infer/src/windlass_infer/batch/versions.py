"""Versions as a batch run names them: by number, or the newest that is whole. Knows no contents."""

from windlass_core.contracts import NewestVersion
from windlass_core.errors import NotFound
from windlass_core.registry import PublishedVersion, Registry


def open_version(registry: Registry, wanted: NewestVersion) -> PublishedVersion:
    """The version of that number, else the newest.

    Raises:
        NotFound: there is none.
        DigestMismatch: its digest is not the one that was asked for.
    """
    number = wanted.version
    if number is None:
        newest = registry.versions(wanted.name, newest=1)
        if not newest:
            raise NotFound(f"'{wanted.name}' has no version in the store", reason="VersionNotFound")
        number = newest[0]
    try:
        return registry.open(wanted.name, number, wanted.digest)
    except NotFound as error:
        raise NotFound(f"'{wanted.name}' has no version {number} in the store", reason="VersionNotFound") from error
