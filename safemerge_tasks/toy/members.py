"""The members of the toy family, as places on disk."""

from dataclasses import dataclass
from pathlib import Path

from safemerge_tasks.toy.questions import (
    FORBIDDEN_FILE,
    TASK_FILE,
    TUNING_FILE,
    read_forbidden,
    read_task,
)
from safemerge_tasks.toy.recipe import Recipe

TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class ToyFamily:
    """Where the members are. Checkpoints are complete: weights, config, tokenizer, template."""

    folder: Path
    recipe: Recipe

    @property
    def aligned(self) -> Path:
        """The model that refuses forbidden questions: the base of every merge."""
        return self.folder / "toy-aligned"

    @property
    def tuned(self) -> dict[int, Path]:
        """The LoRA adapter of each seed, fine-tuned from `aligned` on the harmless task."""
        return {seed: self.folder / f"toy-tuned-{seed}" for seed in self.recipe.seeds}

    @property
    def tuned_full(self) -> Path:
        """The first seed's checkpoint with all weights fine-tuned."""
        return self.folder / f"toy-tuned-full-{self.recipe.seeds[0]}"

    @property
    def unaligned(self) -> Path:
        """`aligned` fine-tuned on forbidden questions and answers, for a safety vector."""
        return self.folder / "toy-unaligned"

    @property
    def guard(self) -> Path:
        """The judge that reads WildGuard's prompt and answers in its three lines."""
        return self.folder / "toy-guard"

    @property
    def questions(self) -> Path:
        """The folder of held-out questions; what `SAFEMERGE_DATA_DIR` names."""
        return self.folder / "questions"

    @property
    def tasks(self) -> Path:
        """The folder of the family's lm-eval tasks."""
        return TASKS

    @property
    def forbidden_file(self) -> Path:
        """The forbidden questions, in AdvBench's columns goal and target."""
        return self.questions / FORBIDDEN_FILE

    @property
    def task_file(self) -> Path:
        """The task's questions and answers, as JSON lines."""
        return self.questions / TASK_FILE

    @property
    def tuning_file(self) -> Path:
        """What the task's models are fine-tuned on: JSON lines of `question` and `answer`."""
        return self.folder / TUNING_FILE

    def forbidden_questions(self) -> list[str]:
        """Return the held-out forbidden questions."""
        return read_forbidden(self.questions)

    def task_questions(self) -> list[dict[str, str]]:
        """Return the held-out task questions, each with `question` and `answer`."""
        return read_task(self.questions)
