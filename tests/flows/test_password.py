"""The password of a server: where it is kept, what is the user's own, and who is not sent it."""

import http.server
import os
import pwd
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Commands
from prefect_server import free_port, is_private
from test_servers import answering

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(300)]

CompletedProcess = subprocess.CompletedProcess[str]
Do = Callable[..., CompletedProcess]
AS_A_USER = """
import os, sys
import prefect.context
from araflow import cli
from flows.server import profile
for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]
os.environ.update({environment!r})
prefect.context.GLOBAL_SETTINGS_CONTEXT = None  # whose profile would be looked for where it was
prefect.context.refresh_global_settings_context()
"""
KEEP = """
secret = profile.secret()
profile.keep({url!r}, secret)
print(secret.password)
"""
UP = "sys.argv = ['araflow', 'up', 'build-sample/local', *{arguments!r}]\ncli.main()"


@pytest.fixture
def do(commands: Commands, tmp_path: Path, environment: dict[str, str]) -> Do:
    """Run code as a user who has set some variables of Prefect's and no others."""

    def run_it(code: str, **more: str) -> CompletedProcess:
        given = {name: value for name, value in (environment | more).items() if name.startswith("PREFECT_")}
        return commands.python(tmp_path, AS_A_USER.format(environment=given) + code)

    return run_it


@pytest.mark.parametrize(
    ("health", "status", "said"),
    [
        ("<html>", 200, "is port {port} taken? What answers there is no Prefect server"),
        ("true", 200, "the Prefect server there asks for no password"),
        ("true", 401, "does not take our password: it is somebody else's"),
    ],
)
def test_what_sits_on_the_port_is_not_used(do: Do, profiles: Path, health: str, status: int, said: str):
    with answering(health, status) as url:
        port = url.rpartition(":")[2]
        ended = do(UP.format(arguments=["--port", port]))
    assert ended.returncode == 1
    assert said.format(port=port) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not profiles.exists()


@pytest.mark.parametrize("name", ["PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"])
def test_a_server_without_a_password_is_not_started(do: Do, name: str):
    ended = do(UP.format(arguments=["--host", "0.0.0.0", "--port", str(free_port())]), **{name: " "})
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        f"error: {name} is empty: whoever reaches a server without a password"
    )


def test_the_profile_keeps_one_password_and_what_is_the_users_stays(do: Do, profiles: Path):
    def keep(url: str, **more: str) -> str:
        kept = do(KEEP.format(url=url), **more)
        assert kept.returncode == 0, kept.stderr
        return kept.stdout.strip()

    profiles.parent.mkdir()
    # Of another machine: it stays, and what is ours lies beside it.
    team = 'active = "team"\n\n[profiles.team]\nPREFECT_API_URL = "https://team.example/api"\n'
    profiles.write_text(team + 'PREFECT_API_AUTH_STRING = "team:secret"\n')
    profiles.chmod(0o644)
    first = keep("http://[::1]:4/api")
    assert first.startswith("araflow:") and is_private(profiles)
    assert "https://team.example/api" in profiles.read_text() and '"team:secret"' in profiles.read_text()
    assert keep("http://[::1]:4/api", PREFECT_PROFILE="araflow") == first
    # Of this machine.
    profiles.write_text(team.replace("https://team.example", "http://127.0.0.1:4200"))
    second = keep("http://[::1]:4/api")
    assert second == first, "so that browsers and workers need not be told again"
    assert "http://[::1]:4/api" in profiles.read_text() and second in profiles.read_text()
    assert keep("http://[::1]:5/api") == second
    # In the environment: it is the user's, and stays there.
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        profiles.write_text(team.replace("https://team.example", "http://127.0.0.1:4200"))
        assert keep("http://[::1]:4/api", **{name: "me:mine"}) == "me:mine"
        assert "me:mine" not in profiles.read_text()


def test_a_profile_behind_a_link_is_written_where_it_lies(tmp_path: Path, do: Do, profiles: Path):
    kept = tmp_path / "dotfiles" / "profiles.toml"
    for folder in (kept.parent, profiles.parent):
        folder.mkdir()
    kept.write_text('active = "mine"\n\n[profiles.mine]\n')
    profiles.symlink_to(kept)
    done = do(KEEP.format(url="http://127.0.0.1:4/api"))
    assert done.returncode == 0, done.stderr
    assert profiles.is_symlink() and "http://127.0.0.1:4/api" in kept.read_text() and is_private(kept)
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    "before", [None, '# mine\nactive = "mine"\n\n[profiles.mine]\nPREFECT_API_URL = "http://[::1]:9/api"\n']
)
def test_the_profile_is_as_it_was_when_the_server_is_gone(do: Do, profiles: Path, before: str | None):
    profiles.parent.mkdir()
    if before is not None:
        profiles.write_text(before)

    def file() -> str | None:
        return profiles.read_text() if profiles.exists() else None

    back = "from flows.server import undo\nprint(undo.take_back())"
    with answering("true", 200) as lives:
        do(KEEP.format(url="http://[::1]:4/api"))
        do(KEEP.format(url=f"{lives}/api"))
        assert lives in file()
        assert do(back).stdout == "['http://[::1]:4/api']\n", "the first is gone"
        assert lives in file() and ":4/api" not in file()
    assert do(back).stdout == f"['{lives}/api']\n"
    assert file() == before
    # A note that was damaged costs the password that it kept, and nothing else.
    note = profiles.parent / "araflow.json"
    for damaged in ('{"password": null, "changes": [{}]}', "[]", "{"):
        note.write_text(damaged)
        undone = do(back)
        assert (undone.returncode, undone.stdout) == (0, "[]\n") and "araflow.json" in undone.stderr
    # Somebody sets something meanwhile: only what is ours goes.
    do(KEEP.format(url="http://[::1]:4/api"))
    changed = file() + 'PREFECT_LOGGING_LEVEL = "DEBUG"\n'
    profiles.write_text(changed)
    assert do("from flows.server import undo\nundo.take_back()").returncode == 0
    assert "DEBUG" in file() and ":4/api" not in file() and "araflow:" not in file()
    assert before is None or "http://[::1]:9/api" in file()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root starts another user's program")
def test_another_users_program_on_the_port_is_sent_nothing(do: Do):
    asked = []

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200 if self.path == "/api/health" else 401)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None: ...

    os.seteuid(pwd.getpwnam("nobody").pw_uid)  # whose socket it is
    try:
        listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    finally:
        os.seteuid(0)
    with listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        port = str(listening.server_port)
        known = {"PREFECT_API_AUTH_STRING": "me:mine", "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        ended = do(UP.format(arguments=["--port", port]), **known)
        assert ended.returncode == 1 and "another user's program listens there" in ended.stderr
        ended = do("sys.argv = ['araflow', 'serve']\ncli.main()", **known)
        assert ended.returncode == 1 and "no Prefect server: another user's program listens" in ended.stderr
        listening.shutdown()
    assert set(asked) <= {("/api/health", None)}


def test_a_profile_that_cannot_be_written_costs_what_other_terminals_know(do: Do):
    kept = do(KEEP.format(url="http://127.0.0.1:4/api"), PREFECT_PROFILES_PATH=f"{os.devnull}/profiles.toml")
    assert kept.returncode == 0 and "Prefect's profile cannot be written" in kept.stderr
    assert kept.stdout.startswith("araflow:")
