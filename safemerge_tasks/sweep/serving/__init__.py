"""One evaluation for dozens of variants: recorded once, answered by one engine, scored by replay.

`evaluation.py` says what is asked, `recording.py` lists lm-eval's requests, `answering.py` has many
variants answer them, `scoring.py` hands the responses back to lm-eval.
"""
