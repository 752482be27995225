"""Export of results to formats of annotation tools, benchmarks and video editors."""

from .export import EXPORTERS, export_results

__all__ = ["EXPORTERS", "export_results"]
