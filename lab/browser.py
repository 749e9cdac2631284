"""A headless Chromium, spoken to over two pipes (Chrome DevTools Protocol): no driver, no port, no package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

from lab.network import patience

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("chromium-headless-shell", "chromium")
LIMIT = 60.0
"""Seconds for one answer."""

KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
"""Of a key: its Windows code, and what it types."""


class Browser:
    """One process with a profile of its own in ``folder``. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise RuntimeError("there is no Chromium; install the package chromium-headless-shell")
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # Chromium reads from 3 and writes to 4; out of their way first.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_browser, from_browser)]
        arguments = [
            "--headless",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--font-render-hinting=none",
            # Its own talk with its makers would be an outside request.
            "--disable-background-networking",
            "--disable-component-update",
            # It cannot have one as root, nor in most containers. It is shown the project's own pages only.
            "--no-sandbox",
        ]
        command = ["setpriv", "--pdeathsig", "KILL", program, *arguments]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}', *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=ends,
            start_new_session=True,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._number = 0
        self._unread = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its result. RuntimeError when the browser refuses it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + patience(LIMIT)
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message; events are kept as well. TimeoutError when none comes."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser has ended")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def tab(self, *, script: bool = True) -> Tab:
        """A new tab, without anything of other tabs' cookies."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Tab(self, session, script)


class Tab:
    """A tab."""

    def __init__(self, browser: Browser, session: str, script: bool) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        if not script:
            self.call("Emulation.setScriptExecutionDisabled", value=True)
        self.look()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to this tab."""
        return self._browser.call(method, self._session, **parameters)

    def look(self, scheme: str = "light", width: int = 1280, height: int = 900, scale: float = 1) -> None:
        """Another colour scheme, and another size."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def go(self, url: str) -> None:
        """Open an address, and wait until all of it is there."""
        seen = len(self._browser.events)
        result = self.call("Page.navigate", url=url)
        if result.get("errorText"):
            raise RuntimeError(f"{url}: {result['errorText']}")
        self._wait_loaded(seen)

    def press(self, key: str, *, loads: bool = False) -> None:
        """One key of ``KEYS``; with ``loads``, wait until the page that it leads to is there."""
        seen = len(self._browser.events)
        code, text = KEYS[key]
        about = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        if loads:
            self._wait_loaded(seen)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def _wait_loaded(self, seen: int) -> None:
        deadline = time.monotonic() + patience(LIMIT)
        while not any(
            event["method"] == "Page.loadEventFired" and event.get("sessionId") == self._session
            for event in self._browser.events[seen:]
        ):
            self._browser.receive(deadline)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 20) -> None:
        """Until the expression is true. TimeoutError."""
        deadline = time.monotonic() + patience(seconds)
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression}: not within {seconds:.0f} s")
            time.sleep(0.05)

    def picture(self) -> bytes:
        """What is seen, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _of(self, method: str) -> list[dict[str, Any]]:
        self.evaluate("0")  # what happened before it has been told when it is answered
        return [
            event["params"]
            for event in self._browser.events
            if event["method"] == method and event.get("sessionId") == self._session
        ]

    def requested(self) -> list[str]:
        """All addresses that were asked for."""
        return [event["request"]["url"] for event in self._of("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """What stands in the console: errors, warnings, and what the page's policy forbade."""
        entries = [event["entry"] for event in self._of("Log.entryAdded")]
        said = [f"{entry['level']}: {entry['text']}" for entry in entries if entry["level"] in ("error", "warning")]
        said += [event["exceptionDetails"]["text"] for event in self._of("Runtime.exceptionThrown")]
        return said + [str(event["args"]) for event in self._of("Runtime.consoleAPICalled")]
