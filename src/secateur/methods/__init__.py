"""The published methods, by name, and what to cite for them."""

from secateur.methods.citations import bibtex
from secateur.methods.rows import METHODS, Method, Setting, Use, method

__all__ = ["METHODS", "Method", "Setting", "Use", "bibtex", "method"]
