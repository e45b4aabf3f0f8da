"""The e-mail connector: LMTP, SMTP and IMAP in; a relay or a folder out."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.email.channel import EmailChannel
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import Channel


@hookimpl
def okienko_channels(ctx: PluginContext) -> Sequence[Channel]:
    """One channel, `email`."""
    return [EmailChannel(ctx.settings(EmailSettings), ctx.home)]
