"""The report: one HTML file with plots, tables and every sample, that needs no network."""

from lorid_local.evaluate.report.page import html

__all__ = ["html"]
