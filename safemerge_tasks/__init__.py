"""Measure the safety of language models with tasks for lm-evaluation-harness."""
