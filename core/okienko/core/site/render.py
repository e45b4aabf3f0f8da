"""Making HTML: Jinja2 with autoescape and strict names, in the visitor's language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from okienko.core.site.actionview import plain_name
from okienko.core.site.context import Site
from okienko.core.site.language import COOKIE, chosen, language_of, translator
from okienko.core.site.people import Role
from okienko.core.site.security import csrf_token


@cache
def environment() -> jinja2.Environment:
    """The templates."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("okienko.core.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["age"] = age
    env.filters["size"] = size
    env.filters["named"] = plain_name
    env.filters["breakable"] = breakable
    return env


def age(span: timedelta) -> str:
    """A span as two units, the same in both languages: `3 d 4 h`, `35 min`."""
    minutes = max(0, int(span.total_seconds() // 60))
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def size(octets: int) -> str:
    """Octets for people."""
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if octets >= factor:
            return f"{octets / factor:.1f} {unit}".replace(".0 ", " ")
    return f"{octets} B"


def breakable(text: str) -> Markup:
    """A long address or file name that may break at its joints on a narrow screen."""
    escaped = str(Markup.escape(text))
    for joint in ("@", ".", "_", "-"):
        escaped = escaped.replace(joint, joint + "<wbr>")
    return Markup(escaped)  # noqa: S704  it was escaped two lines above, and only <wbr> was added


def page(request: Request, site: Site, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. `values` are the template's; what all pages need is added."""
    language = language_of(request)
    zone = ZoneInfo(site.settings.timezone)
    session = getattr(request.state, "session", None)

    def when(at: datetime) -> Markup:
        local = at.astimezone(zone)
        shown = f"{local:%d.%m.%Y %H:%M}" if language == "pl" else f"{local:%d %b %Y, %H:%M}"
        return Markup('<time datetime="{}">{}</time>').format(f"{local:%Y-%m-%dT%H:%M:%S%z}", shown)

    shared: dict[str, Any] = {
        "t": translator(language), "lang": language, "path": request.url.path, "when": when, "now": site.now(),
        "person": session.person if session else None, "csrf": csrf_token(session.token) if session else "",
        "may_decide": session is not None and Role.IDENTITY_ADMIN in session.person.roles,
        "local_admins": site.oidc is None, "fresh_minutes": site.settings.approval_sign_in_minutes, "found": [],
    }  # fmt: skip
    html = environment().get_template(template).render(shared | values)
    response = HTMLResponse(html, status, {"content-language": language, "vary": "cookie, accept-language"})
    if chosen(request):
        response.set_cookie(
            COOKIE, language, max_age=365 * 86_400, path="/", httponly=True, secure=site.settings.https, samesite="lax"
        )
    return response


def message(
    request: Request, site: Site, title: str, text: str, *, status: int = 200, tone: str = "",
    links: Sequence[tuple[str, str]] = (), path: str | None = None, **values: object,
) -> HTMLResponse:  # fmt: skip
    """A page that says one thing. `title`, `text` and the labels of `links` are keys of texts."""
    t = translator(language_of(request))
    extra = {} if path is None else {"path": path}
    return page(
        request, site, "message.html", status=status, title=t(title), text=t(text, phone=site.settings.help_phone, **values),
        tone=tone, links=[(href, t(label)) for href, label in links], **extra,
    )  # fmt: skip
