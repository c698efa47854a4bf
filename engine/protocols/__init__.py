"""The steps of the workflow, each declared once."""
