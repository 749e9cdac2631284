"""Asking the hub's control endpoint, beside the daemon's loop: it must never wait for an answer."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from vpn.lib import control

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 6.0
"""Seconds for an answer: WireGuard repeats a handshake that is lost after 5 (whitepaper, REKEY_TIMEOUT)."""

SETTLED_AFTER = 0.3
"""Seconds that the hub takes to go over to keys that it has agreed to: a handshake before that would be lost."""

SIZE_LIMIT = 16384


class Answer(NamedTuple):
    """``status`` is HTTP's, 0 where there was no answer; ``content`` is empty where it is not understood."""

    status: int
    content: Mapping[str, Any]

    @property
    def message(self) -> str:
        """What the hub says for people, so that it cannot act on a terminal."""
        text = str(self.content.get(control.MESSAGE, ""))[:300]
        return "".join(character if character.isprintable() else " " for character in text)


class Talk:
    """One question, asked at once, in a thread of its own; ``answer`` is None until there is one."""

    def __init__(self, host: str, path: str, content: Mapping[str, str] | None = None, *, method: str = "POST") -> None:
        self.path = path
        self.answer: Answer | None = None
        self._question = (host, method, path, None if content is None else json.dumps(content).encode())
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        host, method, path, body = self._question
        connection = http.client.HTTPConnection(host, control.PORT, timeout=LIMIT)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = json.loads(response.read(SIZE_LIMIT))
            self.answer = Answer(response.status, content if isinstance(content, dict) else {})
        except (OSError, http.client.HTTPException):
            self.answer = Answer(0, {})
        except ValueError:
            self.answer = Answer(response.status, {})
        finally:
            connection.close()
