"""Work on the raw stack: binning, spikes, densities, bad views."""
