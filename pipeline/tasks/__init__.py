"""Tasks: what is tracked, and how it is annotated, written, scored and drawn; one package per task."""
