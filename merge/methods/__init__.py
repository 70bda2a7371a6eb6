"""Merge methods, one file each; a new file here with a registered `Method` is a new method."""

from merge.methods.block import Block
from merge.methods.method import Coefficients, Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import describe_methods, find_method, methods, register

__all__ = [
    "Block",
    "Coefficients",
    "Granularity",
    "Lambdas",
    "Method",
    "Outputs",
    "Parameters",
    "Totals",
    "Values",
    "describe_methods",
    "find_method",
    "methods",
    "register",
]
