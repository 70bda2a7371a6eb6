"""BERTScore (Zhang et al. 2020, arXiv 1904.09675) with the bert-score package's own parts.

What is added: one encoder a process, kept embeddings of references, a length limit from the
encoder's configuration, and a rule for empty answers.
"""

from safemerge_tasks.metrics.bertscore.each import score_each
from safemerge_tasks.metrics.bertscore.scorer import BertScorer
from safemerge_tasks.metrics.bertscore.settings import BertScoreSettings

__all__ = ["BertScoreSettings", "BertScorer", "score_each"]
