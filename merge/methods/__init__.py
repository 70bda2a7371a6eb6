"""Merge methods, one file each; a new file here with a registered `Method` is a new method."""

from merge.methods.block import Block
from merge.methods.method import Coefficients, Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.own_file import is_own_file
from merge.methods.parameters import Parameters, describe_parameters
from merge.methods.registry import describe_methods, find_method, known_roles, methods, register
from merge.methods.roles import SAFETY_VECTOR, Role

__all__ = [
    "SAFETY_VECTOR",
    "Block",
    "Coefficients",
    "Granularity",
    "Lambdas",
    "Method",
    "Outputs",
    "Parameters",
    "Role",
    "Totals",
    "Values",
    "describe_methods",
    "describe_parameters",
    "find_method",
    "is_own_file",
    "known_roles",
    "methods",
    "register",
]
