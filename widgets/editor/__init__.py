"""The fiducial editor and its Bead Fixer."""
