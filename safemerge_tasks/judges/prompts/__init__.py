"""What a judge is shown: prompts that nothing in a response can reshape."""
