"""The published methods by name."""

from secateur.methods.model import Method
from secateur.methods.probed import PROBED
from secateur.methods.recorded import RECORDED

METHODS: dict[str, Method] = {method.name: method for method in (*RECORDED, *PROBED)}
