"""The published methods, by name, and what to cite for them."""

from secateur.methods.citations import bibtex
from secateur.methods.model import Method, Setting, Use
from secateur.methods.rows import METHODS
from secateur.methods.spec import default_method, method

__all__ = ["METHODS", "Method", "Setting", "Use", "bibtex", "default_method", "method"]
