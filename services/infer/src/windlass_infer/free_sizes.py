"""Sizes that a request chooses, and its program cannot run: the caller's fault, which looks like the program's.

A program may leave sizes to the request and yet not take all of them: those of two inputs must agree, or one must be a multiple
of 32. Its signature does not say so, and engines know it by different names or not at all. So when a run fails, ordinary values
of the same sizes are run: when they fail too, while those that were tried at loading still run, the sizes are at fault.
"""

from contextlib import suppress

from windlass_infer.engine import Arrays, Engine, run_rows
from windlass_infer.errors import BadRequest
from windlass_infer.tensor_predictor import TensorPredictor


class FreeSizesEngine:
    """An engine whose inputs have free sizes; tells a wrong size from a failure.

    Args:
        engine: runs the program.
        predictor: of the same version, for ordinary values.
    """

    def __init__(self, engine: Engine, predictor: TensorPredictor) -> None:
        self.name, self.variant, self.platform = engine.name, engine.variant, engine.platform
        self.signature = engine.signature
        self._engine = engine
        self._predictor = predictor

    def run(self, inputs: Arrays) -> Arrays:
        """As the engine. Raises BadRequest for sizes that the program cannot run."""
        try:
            # Checked here too: for sizes that do not fit, OpenVINO answers without rows instead of raising.
            return run_rows(self._engine, inputs, len(next(iter(inputs.values()))))
        except Exception as error:
            example = self._predictor.example_arrays
            if self._runs(example(1, inputs)) or not self._runs(example(1)):
                raise
            sizes = ", ".join(f"{name} {list(values.shape[1:])}" for name, values in inputs.items())
            raise BadRequest(f"the model cannot run rows of these sizes: {sizes}") from error

    def close(self) -> None:
        """Let the engine go."""
        self._engine.close()

    def _runs(self, inputs: Arrays) -> bool:
        with suppress(Exception):
            run_rows(self._engine, inputs, 1)
            return True
        return False


def with_free_sizes(engine: Engine, predictor: object) -> Engine:
    """The engine, told from its callers' faults where they choose sizes."""
    free = any(size < 0 for tensor in engine.signature.inputs for size in tensor.shape[1:])
    return FreeSizesEngine(engine, predictor) if free and isinstance(predictor, TensorPredictor) else engine
