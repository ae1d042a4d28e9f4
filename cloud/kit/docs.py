"""The API's documentation page, with nothing from outside: Swagger UI out of a Python package, served from here.

The packaged Swagger UI (4.15) reads OpenAPI 3.0 and shows an error for 3.1. The API's description stays 3.1 under
/openapi.json; this page reads a copy in which the few things 3.0 says differently are said its way.
"""

from typing import Any, Final

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

DOCS: Final = "/docs"
ASSETS: Final = f"{DOCS}/assets"
READABLE: Final = f"{DOCS}/openapi.json"
POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Json = dict[str, Any]  # Any: a JSON document


def install_docs(app: FastAPI) -> None:
    """Adds the page at /docs and what it loads below it. The app must have been made without pages of its own."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(DOCS)
    def get_page() -> Response:
        page = get_swagger_ui_html(
            openapi_url=READABLE,
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},  # otherwise the page asks a public validator
        )
        page.headers["Content-Security-Policy"] = POLICY
        return page

    @routes.get(READABLE)
    def get_readable() -> Json:
        return {**as_3_0(app.openapi()), "openapi": "3.0.3"}

    app.include_router(routes)
    app.mount(ASSETS, StaticFiles(directory=swagger_ui_path), name="docs-assets")


def as_3_0(node: Json) -> Json:
    """The schema with `null` among alternatives as `nullable` and `const` as a list of one.

    What else OpenAPI 3.0 lacks is left as it is: the page ignores it.
    """
    said = {name: _as_3_0(value) for name, value in node.items()}
    if "const" in said:
        said["enum"] = [said.pop("const")]
    alternatives = said.get("anyOf")
    if isinstance(alternatives, list) and {"type": "null"} in alternatives:
        others = [schema for schema in alternatives if schema != {"type": "null"}]
        del said["anyOf"]
        said |= {"nullable": True} | (others[0] if len(others) == 1 else {"anyOf": others})
    return said


def _as_3_0(value: object) -> object:
    match value:
        case dict():
            return as_3_0(value)
        case list():
            return [_as_3_0(inner) for inner in value]
        case _:
            return value
