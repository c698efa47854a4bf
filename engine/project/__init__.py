"""Projects: runs on disk, their inputs and outputs, and what is out of date."""
