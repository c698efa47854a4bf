"""A picture that is looked at: zoomed, panned, marked, stepped through."""
