"""HumanEval: the installed problems, responses made into programs, outcomes."""
