"""Whether a Prefect server answers, and where."""

from __future__ import annotations

import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

from araflow.core.errors import AraflowError
from flows.server import whose

SECONDS_TO_ANSWER = 5.0


def server_url() -> str:
    """Return the address of the server that commands ask.

    Raises:
        AraflowError: There is none, it does not answer, or it does not take our password.
    """
    url: str | None = PREFECT_API_URL.value()
    if url is None or not answers(url):
        where = "PREFECT_API_URL is not set" if url is None else f"nothing answers at {url}"
        raise AraflowError(f"no Prefect server: {where}; start one with araflow up (in another terminal)")
    if PREFECT_API_KEY.value() is None:  # Prefect Cloud has no passwords
        whose.check_let_in(url, PREFECT_API_AUTH_STRING.value())
    return url


def answers(url: str) -> bool:
    """Whether a Prefect server answers at an API address, such as ``http://127.0.0.1:4200/api``.

    A stranger's on this machine is none: it would learn our password.
    """
    try:
        if whose.is_strangers(url):
            return False
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=SECONDS_TO_ANSWER)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return answer.is_success and answer.text.strip() == "true"  # another server may answer everything with a page
