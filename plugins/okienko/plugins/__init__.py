"""What a plugin author imports. See docs/writing-a-plugin.md."""

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.settings import PluginSettings

API_VERSION = "1.0"
"""Version of hooks and ports; a plugin's metadata requires `okienko>=…,<…` accordingly."""

__all__ = ["API_VERSION", "PluginContext", "PluginSettings", "hookimpl"]
