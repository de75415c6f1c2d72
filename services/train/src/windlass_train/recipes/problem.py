"""What is to be learned, as far as a recipe must know it: the task, the width of the features, the classes. Values only."""

from dataclasses import dataclass

from windlass_core.manifests import Task


@dataclass(frozen=True)
class Problem:
    """A learning problem.

    Attributes:
        task: classification or regression.
        label: name of the label column, for messages.
        features: numbers in one row after the fitted transform.
        classes: number of classes; 0 for regression.
        offset: regression: mean of the label on the training split.
        scale: regression: standard deviation of the label on the training split, never 0.
    """

    task: Task
    label: str
    features: int
    classes: int = 0
    offset: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Width of what a module gives for one row: a logit for each class, or one number."""
        return self.classes or 1
