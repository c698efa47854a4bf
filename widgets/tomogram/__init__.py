"""The tomogram viewer."""
