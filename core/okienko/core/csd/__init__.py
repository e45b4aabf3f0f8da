"""Keeping cases and the tickets of a CSD in step: changes out in order, changes in, conflicts, outages."""
