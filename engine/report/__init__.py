"""The report of a series: summary.json and one HTML page."""
