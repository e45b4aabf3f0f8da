"""Hooks. Each is called once, when the service starts, and returns objects; the objects do the work (see ports)."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from okienko.plugins.context import PluginContext
from okienko.plugins.ports import Channel, CsdBackend, IdentityBackend, MessagePolicy, ProcedurePack
from okienko.plugins.signatures import SignatureVerifier

PROJECT = "okienko"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def okienko_channels(ctx: PluginContext) -> Sequence[Channel]:  # type: ignore[empty-body]
    """Called once at start: ways for messages to come in and go out.

    :param ctx: the service as the plugin sees it
    :return: channels, or an empty list when none is configured
    """


@hookspec
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:  # type: ignore[empty-body]
    """Called once at start: registers that cases can be put in; `OKIENKO_CSD` picks one by name.

    :param ctx: the service as the plugin sees it
    """


@hookspec
def okienko_identity_backends(ctx: PluginContext) -> Sequence[IdentityBackend]:  # type: ignore[empty-body]
    """Called once at start: places where accounts live; `OKIENKO_IDENTITY` picks one by name.

    :param ctx: the service as the plugin sees it
    """


@hookspec
def okienko_procedures(ctx: PluginContext) -> Sequence[ProcedurePack]:  # type: ignore[empty-body]
    """Called once at start: procedure packs; `OKIENKO_PROCEDURE` picks one by name.

    :param ctx: the service as the plugin sees it
    """


@hookspec
def okienko_policies(ctx: PluginContext) -> Sequence[MessagePolicy]:  # type: ignore[empty-body]
    """Called once at start: policies about messages, asked in the order of `OKIENKO_POLICIES`.

    :param ctx: the service as the plugin sees it
    """


@hookspec
def okienko_signature_verifiers(ctx: PluginContext) -> Sequence[SignatureVerifier]:  # type: ignore[empty-body]
    """Called once at start and once in each worker process: who checks signed documents; `OKIENKO_VERIFIER` picks one.

    :param ctx: the service as the plugin sees it; in a worker process `database` is None
    """
