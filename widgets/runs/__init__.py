"""Runs of a project: graph, list, summary, log, tables of their quality."""
