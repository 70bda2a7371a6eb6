"""The release gate: a candidate's results against a baseline's."""
