"""A browser without JavaScript: cookies, forms and redirects."""

from __future__ import annotations

import html
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.cookiejar import CookieJar


@dataclass(slots=True)
class Browser:
    """What it shows: `address`, `status`, `page` (the HTML), `text` (what a person reads)."""

    home: str
    address: str = ""
    status: int = 0
    page: str = ""
    opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    )

    @property
    def text(self) -> str:
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.page)).split())

    def go(self, path: str) -> str:
        """Open a path of the site; the text of the page."""
        return self._open(urllib.parse.urljoin(self.home, path))

    def send(self, path: str, **fields: object) -> str:
        """Send a form to a path, with the token that the last page had; the text of the page that follows."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.page)
        given = {"csrfmiddlewaretoken": token[1] if token else "", **fields}
        return self._open(urllib.parse.urljoin(self.home, path), urllib.parse.urlencode(given).encode())

    def answers(self) -> bool:
        try:
            return bool(self.go("/"))
        except OSError:
            return False

    def _open(self, url: str, body: bytes | None = None) -> str:
        try:
            with self.opener.open(url, body, timeout=20) as answer:
                self.status, self.address, self.page = answer.status, answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                self.status, self.address, self.page = error.code, error.url or "", error.read().decode()
        return self.text
