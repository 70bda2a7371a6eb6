"""Groups of layers, or of what is in them, that may have a λ each."""

import re
from collections.abc import Mapping

from merge.errors import MergeError
from merge.recipe.tensor_settings import Place, is_embedding

_BY_PART = ("attention", "mlp")

DIVISIONS: tuple[tuple[str, ...], ...] = (
    ("early", "late"),
    ("early", "middle", "late"),
    _BY_PART,
)
"""What a model is divided into: equal parts from the first layer to the last, or attention and the
rest."""

# As in .self_attn.q_proj. or .attention.dense., and not as in .post_attention_layernorm.
_ATTENTION = re.compile(r"\.\w*(attn|attention)\.", re.IGNORECASE)


def check_groups(given: Mapping[str, float]) -> None:
    """Check that groups are halves or thirds of the layers, or attention and the rest.

    Raises:
        MergeError: they are not.
    """
    if set(given) not in [set(names) for names in DIVISIONS]:
        raise MergeError(
            f"λ is given for {', '.join(given) or 'no layers'}; give it for early and late, the "
            f"halves of the layers, for early, middle and late, their thirds, or for attention and "
            f"mlp."
        )


def at_group(given: Mapping[str, float], place: Place) -> float:
    """Return a tensor's value.

    Embeddings are early, and what else is outside the layers late. What is not attention's is
    MLP's: norms, embeddings and head too.
    """
    [names] = [names for names in DIVISIONS if set(names) == set(given)]
    if names == _BY_PART:
        return given["attention" if _ATTENTION.search(place.name) else "mlp"]
    if place.layer is None:
        return given[names[0] if is_embedding(place.name) else names[-1]]
    return given[names[min(int(place.depth * len(names)), len(names) - 1)]]
