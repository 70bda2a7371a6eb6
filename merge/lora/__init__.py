"""LoRA adapters: their configuration, their tensors, and the updates these stand for."""
