"""A sweep's tables and figures: what was chosen, how it does on test data, and every number."""
