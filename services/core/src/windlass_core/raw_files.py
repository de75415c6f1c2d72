"""The raw files that a source names: a file, a folder or a glob in the store, and the one format of all of them.

What prepares a Dataset and what predicts for raw files find them alike. Knows nothing of what is in a file.
"""

from fnmatch import fnmatchcase
from typing import Literal

from windlass_core.errors import BadConfiguration, NotFound
from windlass_core.resources.dataset import Source
from windlass_core.store import URI_SCHEME, Entry, Store, path_of

Format = Literal["csv", "json", "parquet"]

# Beyond this a listing, and a message that speaks of it, is of no use to anybody.
MAX_FILES = 10_000
_GLOB_CHARACTERS = frozenset("*?[")
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".json.gz": "json",
    ".jsonl.gz": "json",
    ".parquet": "parquet",
}


def find(store: Store, source: Source) -> list[Entry]:
    """The files that the source names, sorted by path; none if there is none.

    Raises:
        BadConfiguration: the source names too many files, or a folder without its /.
    """
    path = path_of(source.uri)
    if path.endswith("/"):
        found = [entry for entry in store.list(path) if not _hidden(entry.path)]
    elif _GLOB_CHARACTERS & set(path):
        found = [entry for entry in store.list(_folder_before_glob(path)) if fnmatchcase(entry.path, path)]
    else:
        found = _file_at(store, path)
    if len(found) > MAX_FILES:
        raise BadConfiguration(f"{source.uri} names {len(found):,} files; {MAX_FILES:,} are the most that are read together")
    return sorted(found, key=lambda entry: entry.path)


def _file_at(store: Store, path: str) -> list[Entry]:
    try:
        return [store.head(path)]
    except NotFound:
        if next(store.list(path), None) is None:
            return []
        raise BadConfiguration(f"{URI_SCHEME}{path} is a folder; name it with a / at its end: {URI_SCHEME}{path}/") from None


def format_of(source: Source, files: list[Entry]) -> Format:
    """The one format of all files.

    Raises:
        BadConfiguration: no format was given, and the names do not tell one.
    """
    if source.format != "auto":
        return source.format
    formats = {_format_of_name(entry.path) for entry in files}
    if len(formats) == 1 and (only := formats.pop()) is not None:
        return only
    odd = next((entry.path for entry in files if _format_of_name(entry.path) is None), None)
    why = f"the name {odd} does not tell its format" if odd else f"the files at {source.uri} are of several formats"
    raise BadConfiguration(f"{why}; set the source's format, or name one kind of file ({', '.join(sorted(_ENDINGS))})")


def _folder_before_glob(path: str) -> str:
    first = next(at for at, character in enumerate(path) if character in _GLOB_CHARACTERS)
    folder, slash, _ = path[:first].rpartition("/")
    if not slash:
        raise BadConfiguration(f"{URI_SCHEME}{path}: a glob must begin with a folder, for example {URI_SCHEME}raw/*.csv")
    return folder


def _hidden(path: str) -> bool:
    """Whether other tools would leave it out: _SUCCESS, .DS_Store and the like."""
    return path.rsplit("/", 1)[-1].startswith(("_", "."))


def _format_of_name(path: str) -> Format | None:
    name = path.lower()
    return next((format_ for ending, format_ in _ENDINGS.items() if name.endswith(ending)), None)
