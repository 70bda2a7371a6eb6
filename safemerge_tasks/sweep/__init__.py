"""The papers' whole experiment: a grid of variants as a graph of keyed steps, run and reported."""
