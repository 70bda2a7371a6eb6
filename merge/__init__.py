"""Merge checkpoints and adapters: weights in, a checkpoint that vLLM and transformers load out."""
