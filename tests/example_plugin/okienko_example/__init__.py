"""An okienko plugin to copy."""
