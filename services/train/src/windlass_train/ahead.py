"""Compiles an exported program to a library for this kind of CPU, by AOTInductor. It takes minutes and a C++ compiler.

What comes out runs on CPUs with the same instructions alone, and on this release of torch; whoever serves it tries it first.
"""

import logging
import warnings
from pathlib import Path

from torch._inductor import aoti_compile_and_package
from torch.export import ExportedProgram

from windlass_core.resources.model import OmittedFormat

# Characters of a compiler's error: its first line says what, pages of generated code follow.
ERROR_LENGTH = 200

log = logging.getLogger(__name__)


def compile_ahead(exported: ExportedProgram, path: Path) -> OmittedFormat | None:
    """Write the package, or say why there is none.

    Raises:
        OSError: the folder's disk is full, or the like.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Weights become constants of the program, laid out as its kernels read them.
            aoti_compile_and_package(exported, package_path=str(path), inductor_configs={"freezing": True})
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the compiler raises anything for a program that it cannot take
        log.warning("compiling ahead failed", exc_info=error)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:ERROR_LENGTH]
        path.unlink(missing_ok=True)
        message = f"AOTInductor could not compile the program ({first}); it needs g++ where the version is published."
        return OmittedFormat(format="aot-inductor", reason="CompileFailed", message=message)
    return None
