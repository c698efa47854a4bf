"""The tilt-series viewer, its tables and plots."""
