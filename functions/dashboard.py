"""HTTP triggers: the page that a store manager looks at, and the files that it is made of.

The page asks for the function key. Its files hold no figures and are open to all, so that the key stands in no link.
They are served under a hash of them all: they may be cached for ever, and a new version of the app has new addresses.
"""

import hashlib
from functools import cache
from pathlib import Path

import azure.functions as func

from shared import bootstrap

bp = func.Blueprint()

PAGE = Path(__file__).parent / "page"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SECURITY = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@bp.function_name("dashboard")
@bp.route(route="dashboard", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """Answer the page; its script reads gold over the API."""
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    html = html.replace("{{version}}", version()).replace("{{min_devices}}", str(bootstrap.settings().gold_min_devices))
    return func.HttpResponse(html, mimetype="text/html", headers={**SECURITY, "Cache-Control": "no-cache"})


@bp.function_name("dashboard_file")
@bp.route(route="dashboard/{version}/{file}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def dashboard_file(req: func.HttpRequest) -> func.HttpResponse:
    """Answer a file of the page; 404 for what is none of this version."""
    body = files().get(req.route_params["file"])
    if body is None or req.route_params["version"] != version():
        return func.HttpResponse(status_code=404, headers=SECURITY)
    headers = {**SECURITY, "Cache-Control": "public, max-age=31536000, immutable"}
    return func.HttpResponse(body, mimetype=TYPES[Path(req.route_params["file"]).suffix], headers=headers)


@cache
def files() -> dict[str, bytes]:
    """The page's files by name, the chart library's among them."""
    return {path.name: path.read_bytes() for path in sorted(PAGE.rglob("*")) if path.suffix in TYPES}


@cache
def version() -> str:
    """A hash of all files."""
    digest = hashlib.sha256()
    for name, body in files().items():
        digest.update(f"{name} {len(body)} ".encode() + body)
    return digest.hexdigest()[:12]
