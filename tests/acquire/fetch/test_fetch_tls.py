"""TLS is always verified, and what began encrypted stays so."""

import http.server
import shutil
import ssl
import subprocess
import threading

import pytest
from ranged_server import BODY, Served, answer

from araflow.acquire import fetch
from araflow.core.errors import FetchError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that nobody but the test trusts, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command here to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "self.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        path,
        "-out",
        f"{path}.crt",
    ]
    subprocess.run(["openssl", "req", "-x509", *key, "-days", "2", *names], check=True, capture_output=True)
    return path, path.with_name("self.pem.crt")


@pytest.fixture
def tls(web, certificate):
    """The address of ``web``'s files by https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), web.server.RequestHandlerClass)
    server.handle_error = lambda *_: None  # the client refuses the handshake
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


def test_a_certificate_that_is_not_trusted_is_refused_and_the_next_mirror_taken(web, tls, target):
    web.files["/a"] = BODY
    with pytest.raises(FetchError) as caught:
        fetch.download([f"{tls}/a"], target)
    assert "its certificate cannot be trusted (self-signed certificate)" in str(caught.value)
    assert "Verification is not switched off" in str(caught.value)
    assert "--from" in str(caught.value)
    assert web.requests == []  # at once, and without a second attempt
    assert fetch.download([f"{tls}/a", web.url("/a")], target).url == web.url("/a")


def test_an_authority_that_the_user_names_is_trusted(web, tls, certificate, target, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    web.files["/a"] = served = Served(cuts=[100_000])
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    fetch.download([f"{tls}/a"], target)
    assert target.read_bytes() == BODY
    assert served.asked() == [None, "bytes=100000-"]


def test_what_began_encrypted_is_not_redirected_to_what_is_not(web, tls, certificate, target, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    web.files |= {"/a": answer(302, b"", Location=web.url("/b?token=1")), "/b?token=1": BODY}
    with pytest.raises(
        FetchError, match=r"redirects to http://127.0.0.1:\d+/b\?…: on http anybody between could change"
    ):
        fetch.download([f"{tls}/a"], target)
    assert web.requests == ["/a"]
    web.files |= {"/up": answer(302, b"", Location=f"{tls}/b?token=1")}
    assert fetch.download([web.url("/up")], target).path.read_bytes() == BODY


def test_certificates_that_cannot_be_read_are_said_to_be_so(web, target, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authority.pem")
    with pytest.raises(FetchError, match=r"certificates cannot be read: .*SSL_CERT_FILE"):
        fetch.download([web.url("/a")], target)
