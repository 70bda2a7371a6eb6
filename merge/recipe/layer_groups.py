"""Groups of layers, early to late, that may have a λ each."""

from collections.abc import Mapping

from merge.errors import MergeError
from merge.recipe.tensor_settings import Place, is_embedding

# What the layers are divided into, in equal parts from the first to the last.
_DIVISIONS = (("early", "late"), ("early", "middle", "late"))


def check_groups(given: Mapping[str, float]) -> None:
    """Check that groups are halves or thirds of the layers.

    Raises:
        MergeError: they are not.
    """
    if set(given) not in [set(names) for names in _DIVISIONS]:
        raise MergeError(
            f"λ is given for {', '.join(given) or 'no layers'}; give it for early and late, the "
            f"halves of the layers, or for early, middle and late, their thirds."
        )


def at_group(given: Mapping[str, float], place: Place) -> float:
    """Return a tensor's value: embeddings are early, and what else is outside the layers late."""
    [names] = [names for names in _DIVISIONS if len(names) == len(given)]
    if place.layer is None:
        return given[names[0] if is_embedding(place.name) else names[-1]]
    return given[names[min(int(place.depth * len(names)), len(names) - 1)]]
