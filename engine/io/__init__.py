"""Readers and writers of the field's files; every write is atomic."""
