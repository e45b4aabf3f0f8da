"""The backend `rest`: the CSD port around a described API."""

from __future__ import annotations

from okienko.connectors.csd.rest.description import load_description
from okienko.connectors.csd.rest.reading import BACKEND
from okienko.connectors.csd.rest.settings import RestCsdSettings
from okienko.connectors.csd.rest.system import RestSystem
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.pace import Pace


def rest_csd(settings: RestCsdSettings, pace: Pace | None = None) -> SystemCsd:
    """The backend on these settings. Raises MisconfiguredError for a description that is wrong."""
    assert settings.mapping is not None  # noqa: S101  the settings demand it with the address
    file = load_description(settings.mapping)
    return SystemCsd(BACKEND, RestSystem(settings, file, pace), file, connections=settings.connections)
