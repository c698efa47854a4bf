"""Curating a fiducial model: live alignment, predictions, what is worth a look, what was edited."""
