"""The shapes that a model is built for."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """The shapes that a model is built for.

    Attributes:
        modalities: name -> (encoder, tokens after k-Average, encoder width).
        tasks: task -> class names.
    """

    modalities: dict[str, tuple[str, int, int]]
    tasks: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        return list(self.modalities)

    @property
    def sources(self) -> dict[str, str]:
        """Modality -> name of its token array, encoder included."""
        return {name: f"{name}/{encoder}" for name, (encoder, _, _) in self.modalities.items()}

    @property
    def classes(self) -> dict[str, int]:
        """Task -> number of classes."""
        return {task: len(names) for task, names in self.tasks.items()}
