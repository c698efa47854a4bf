"""The composition root: command line, main window, jobs, settings."""
