"""The engine of procedure packs. It knows no installation's words: those are in the pack's file."""
