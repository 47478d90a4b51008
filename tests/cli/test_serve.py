"""The server of the reports, as a visitor and as an attacker would use it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from rnnbench.cli import app
from rnnbench.cli.serve import _Handler, make_server


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server of a folder with a page, a folder without one, and links that lead outside."""
    site = tmp_path / "site"
    (site / "graphs").mkdir(parents=True)
    (site / "index.html").write_text("<p>report")
    (site / "graphs" / "one.json").write_text("[]")
    (tmp_path / "secret").write_text("secret")
    (site / "link").symlink_to(tmp_path / "secret")
    (site / "out").symlink_to(tmp_path)
    with make_server(site, "127.0.0.1", 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def get(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{port}" if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("path", ["/", "/index.html", "/?query", "/graphs/../index.html"])
def test_the_report_is_served(port: int, path: str) -> None:
    assert get(port, path) == (200, b"<p>report")


@pytest.mark.parametrize(
    "path",
    [
        "/link", "/out/secret", "/out/", "/graphs/", "/nothing", "/%00", "/a%00b", "/../secret",
        "/%2e%2e/secret", "/..%2fsecret", "//etc/passwd", "/%ff", "/graphs/one.json/",
    ],
)  # fmt: skip
def test_nothing_outside_no_listing_and_no_traceback(
    port: int, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, content = get(port, path)
    assert status == 404
    assert b"secret" not in content
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200),
        ("attacker.example", 421), ("127.0.0.1.attacker.example:80", 421), ("", 421), ("[", 421),
    ],
)  # fmt: skip
def test_another_name_gets_no_answer(port: int, host: str, status: int) -> None:
    """A page elsewhere could give loopback a name of its own, and read what is served."""
    assert get(port, "/", host)[0] == status


def test_an_idle_client_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as idle:
        assert idle.recv(1) == b""  # closed by the server


def test_the_other_loopback_address_is_served(tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    (tmp_path / "index.html").write_text("six")
    try:
        server = make_server(tmp_path, "::1", 0)
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error}")
    with server:
        assert server.server_address[0] == "::1"


def test_without_a_report_it_says_what_to_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", str(tmp_path)])
    assert result.exit_code == 2
    assert "run `rnnbench publish`" in result.output


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert CliRunner().invoke(app, ["serve", "--port", port]).exit_code == 2
