"""Reusable Qt widgets; they know the engine's model, never the application."""
