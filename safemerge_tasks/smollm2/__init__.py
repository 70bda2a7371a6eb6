"""The papers' experiment on a small real model that comes from the package index."""
