"""One self-contained HTML page from what a run left on disk. No torch."""

from secateur.report.page import write_report
from secateur.report.scale import is_scale, write_scale_report

__all__ = ["is_scale", "write_report", "write_scale_report"]
