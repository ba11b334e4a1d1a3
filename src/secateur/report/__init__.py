"""One self-contained HTML page from what a run left on disk. No torch."""

from secateur.report.page import write_report

__all__ = ["write_report"]
