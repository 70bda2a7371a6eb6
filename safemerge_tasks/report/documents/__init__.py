"""Each kind of report as a document: a gate's decision, models' results, a history."""
