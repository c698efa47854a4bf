"""The CTF viewer: spectra with their rings, defocus against tilt, editing by hand."""
