"""Two names of a deployment: what the list in the browser shows, and what people type.

The list shows a deployment's name, and its flow in small letters below; of ``build-hmdb5/local`` and the like it would
say ``local`` in every row. So the row of ``build-hmdb5/local`` is called ``hmdb5``, and our server knows both.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HERE = "local"
_BY_NAME = re.compile(r"(?P<before>/api/deployments/name/)(?P<flow>[\w-]+)/(?P<where>[\w-]+)")


def in_list(flow: str, where: str) -> str:
    """Return the name in the list of what is typed as ``FLOW/WHERE``."""
    short = flow.removeprefix("build-")
    return short if where == HERE else f"{short}-{where}"


class ByEitherName:
    """Prefect's application, which finds a deployment by what people type, too."""

    def __init__(self, app: ASGIApp) -> None:
        """Take Prefect's application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see ASGI."""
        typed = _BY_NAME.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if typed is None:
            await self._app(scope, receive, send)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app({**scope}, receive, keep)  # a copy: applications write into it
        if answer[0].get("status") != 404:
            for message in answer:
                await send(message)
            return
        path = f"{typed['before']}{typed['flow']}/{in_list(typed['flow'], typed['where'])}"
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send)
