"""Rates of a whole suite, told from a part that was drawn once and is asked of every model."""

from scipy.stats import norm


def fixed_part_effect(questions: float, stands_for: float, confidence: float = 0.95) -> float:
    """Return as how many times fewer independent questions a fixed part counts, never below 1.

    The variance P(1-P)/n of n independent questions is corrected twice:

    - by `(N-n)/(N-1)`, as n of N questions are drawn without replacement (Cochran 1977, Sampling
      Techniques, section 3.2); strata that the draw respects only make it less;
    - by `1 + (z₁/z₂)²`, with the one-sided and the two-sided normal quantile. An ordinary interval
      holds for the share `confidence` of parts and models together, and where the part's questions
      are harder than the rest it may miss for most models of a family. With `z² = z₂² + z₁²` it
      holds for this share of the models, for this share of the parts: if models share r of the
      variance, what they share is within z₂·√r for that share of the parts, the rest of a model's
      error then below z₁·√(1-r) for that share of the models, and the sum is at most z for every r
      (Cauchy and Schwarz). It is a tolerance interval in the sense of Wilks 1941, Annals of
      Mathematical Statistics 12(1).

    Never below 1, so that it is no narrower than what other questions of the kind leave possible.

    Args:
        questions: in the part, n; fractional for an effective number of them.
        stands_for: for how many of the suite each stands, N/n; 1 for the whole suite.
        confidence: two-sided.
    """
    if stands_for <= 1:
        return 1.0
    questions = max(questions, 1.0)
    left = (stands_for - 1) * questions / (stands_for * questions - 1)
    one_sided, two_sided = norm.ppf([confidence, (1 + confidence) / 2])
    return max(float(left * (1 + (one_sided / two_sided) ** 2)), 1.0)
