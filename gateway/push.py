"""How does a browser come to be pushed to? With the bank's public key, and a service worker.

The subscription that the browser gives is handed to the bank's app, which vouches for it by
``PUT /v1/customers/{id}``: nothing is bound here.
"""

from aiohttp import web

from gateway.pages import Pages
from gateway.ports import GatewaySettings
from gateway.problems import Problem


class Push:
    """Serves the service worker at the root, whose scope it needs, and the key."""

    def __init__(self, settings: GatewaySettings, pages: Pages) -> None:
        self._key = settings.push_key
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/sw.js", self.get_worker), web.get("/v1/push/key", self.get_key)]

    async def get_worker(self, request: web.Request) -> web.Response:
        """``GET /sw.js``: shows what is pushed, and opens the page when it is touched."""
        self._pages.own_origin(request)
        return self._pages.page("sw.js")

    async def get_key(self, request: web.Request) -> web.Response:
        """``GET /v1/push/key``: the application server's key for `PushManager.subscribe`."""
        self._pages.own_origin(request)
        if not self._key:
            raise Problem("not_found", "Web Push is not set up: channels.push in the settings")
        return web.json_response({"key": self._key}, headers=self._pages.headers())
