"""What obstore raises, as the few errors that callers decide on, each naming the path. Knows no credentials and no bytes."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from windlass_core.errors import BadConfiguration, Conflict, NotFound, Unavailable

URI_SCHEME = "store://"

# What a folder and versitygw say when part of a path is a file, and when a path is a folder. obstore has no error types for
# these: from a folder they come as any failure does, from versitygw as the answer to a second creator.
_BELOW_A_FILE = (f"(os error {errno.ENOTDIR})", "<Code>ObjectParentIsFile</Code>")
_IS_A_FOLDER = (f"(os error {errno.EISDIR})", "<Code>ExistingObjectIsDirectory</Code>")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """obstore's errors as the few that callers decide on, each naming the path."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise NotFound(f"nothing is at {URI_SCHEME}{path}") from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise Conflict(f"something else is at {URI_SCHEME}{path} already") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        message = f"the store refuses access to {URI_SCHEME}{path}; check the credentials in the Secret windlass-store"
        raise BadConfiguration(message, reason="StoreAccessDenied") from error
    except (BaseError, OSError) as error:
        if path and _says(error, _BELOW_A_FILE):  # without a path it is the root that is a file
            raise NotFound(f"nothing is at {URI_SCHEME}{path}") from error
        raise Unavailable(f"the store does not answer for {URI_SCHEME}{path}: {_first_line(error)}") from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """As `translated`, with a Conflict that says which of file and folder is in the way of the other."""
    try:
        with translated(path):
            yield
    except (Conflict, NotFound, Unavailable) as error:
        if _says(error.__cause__, _BELOW_A_FILE):
            sentence = (
                f"{URI_SCHEME}{path} cannot be written, because a file is where its path needs a folder; use another path"
            )
            raise Conflict(sentence) from error
        if _says(error.__cause__, _IS_A_FOLDER):
            raise Conflict(folder_sentence(path)) from error
        raise


def folder_sentence(path: str) -> str:
    """What a Conflict says where a folder is in the way of a file."""
    return f"{URI_SCHEME}{path} cannot be written, because it is a folder; use another path"


def _says(error: BaseException | None, phrases: Sequence[str]) -> bool:
    return any(phrase in str(error) for phrase in phrases)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
