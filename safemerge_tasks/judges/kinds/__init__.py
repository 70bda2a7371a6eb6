"""What judges of one kind share: no model, a classifier, a guard, a chat model."""
