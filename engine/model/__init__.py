"""What a project is made of: tilt series, alignment, fiducial model, tomogram."""
