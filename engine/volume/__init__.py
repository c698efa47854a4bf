"""What is done to tomograms once they are reconstructed."""
