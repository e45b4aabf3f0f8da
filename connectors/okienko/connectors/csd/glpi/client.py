"""The backend `glpi`: one port, one of two APIs behind it."""

from __future__ import annotations

from okienko.connectors.csd.glpi.mapping import BACKEND
from okienko.connectors.csd.glpi.settings import GlpiCsdSettings
from okienko.connectors.csd.glpi.v10 import Glpi10
from okienko.connectors.csd.glpi.v11 import Glpi11
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.pace import Pace


def glpi_csd(settings: GlpiCsdSettings, pace: Pace | None = None) -> SystemCsd:
    """The backend on these settings. Raises MisconfiguredError for a mapping that cannot be read."""
    assert settings.mapping is not None  # noqa: S101  the settings demand it with the address
    file = load_mapping(settings.mapping)
    system = Glpi10(settings, file, pace) if settings.api == "10" else Glpi11(settings, file, pace)
    return SystemCsd(BACKEND, system, file, connections=settings.connections)
