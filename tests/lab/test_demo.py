"""``twotower serve``: the answers of the commands, requests that are refused with one line, and the page."""

import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import quote

import numpy as np
import pytest
import tiny_runs
from click.testing import CliRunner
from threadpoolctl import threadpool_limits

from twotower.cli import cli
from twotower.data.dataset import Dataset
from twotower.lab.demo.demo import Demo
from twotower.serving import server as module
from twotower.serving.recommend import recommend
from twotower.serving.server import LONGEST_TARGET, JsonServer


@contextmanager
def served(run, dataset):
    with threadpool_limits(1, "blas"), JsonServer("127.0.0.1", 0, Demo(run, dataset).routes()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def home(tiny_world, tmp_path_factory):
    run = tiny_runs.train(tiny_world, tmp_path_factory.mktemp("serve") / "run", tiny_runs.MTL)
    return run.path, Dataset.open(tiny_world)


@pytest.fixture(scope="module")
def port(home):
    with served(*home) as port:
        yield port


def ask(port, target, method="GET", body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, target, body, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if data else None


def test_lists_are_those_of_recommend_at_home_and_elsewhere(home, port):
    run, dataset = home
    wanted = recommend(run, dataset, np.array([3]), 5)
    status, found = ask(port, "/recommend?user=3&k=5")
    assert status == 200 and [t["title"] for t in found["titles"]] == [dataset.title_ids[t] for t in wanted.title[0]]
    assert [t["score"] for t in found["titles"]] == pytest.approx(wanted.score[0].tolist(), abs=1e-4)
    assert found["home"] == found["territory"] == dataset.territories.code[int(dataset.user_territory[3])]
    _, listed = ask(port, "/territories")
    by_group = {entry["group"]: entry["code"] for entry in listed["territories"]}
    other = next(code for group, code in by_group.items() if group != found["group"])
    _, elsewhere = ask(port, f"/recommend?user=3&k=5&territory={other}")
    assert elsewhere["territory"] == other and elsewhere["home"] == found["home"]
    assert elsewhere["group"] != found["group"] and elsewhere["titles"] != found["titles"]


def test_explanations_and_neighbours(port):
    _, found = ask(port, "/recommend?user=3&k=1")
    best = found["titles"][0]
    status, record = ask(port, f"/explain?user=3&title={quote(best['title'])}")
    assert status == 200 and record["own"]["logit"] == pytest.approx(best["score"], abs=1e-4)
    _, near = ask(port, f"/similar?title={quote(best['title'])}&k=3")
    assert len(near["titles"]) == 3 and best["title"] not in {t["title"] for t in near["titles"]}
    assert ask(port, "/health")[1]["status"] == "ok"
    assert ask(port, "/users?like=1&k=2")[1]["users"] == ["1", "10"]


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ("/recommend", 400, "user is missing"),
        ("/recommend?user=nobody", 400, "no such user"),
        ("/recommend?user=3&k=0", 400, "k=0: expected a whole number from 1"),
        ("/recommend?user=3&k=9999999999999", 400, "expected a whole number"),
        ("/recommend?user=3&k=1e2", 400, "expected a whole number"),
        ("/recommend?user=3&territory=Atlantis", 400, "Atlantis"),
        ("/recommend?user=%ff%00", 400, ""),
        ("/similar?title=", 400, "title is missing"),
        ("/../etc/passwd", 404, "expected one of"),
        ("/recommend?" + "&".join(f"a{i}=1" for i in range(99)), 400, "fields"),
        ("/recommend?user=" + "3" * LONGEST_TARGET, 414, "longer than"),
    ],
)
def test_wrong_requests_get_one_line(port, target, status, message):
    found = ask(port, target)
    assert found[0] == status and message in found[1]["error"] and "\n" not in found[1]["error"]


def test_only_queries_are_answered(port):
    assert ask(port, "/recommend", "POST", b"x")[0] == 405
    assert ask(port, "/recommend?user=3", body=b"x" * 10)[0] == 400
    assert ask(port, "/health", "HEAD") == (200, None)
    assert ask(port, "/health", headers={"Content-Length": "many"})[0] == 400


def test_a_connection_that_ends_says_so_and_others_are_kept(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for method, target in (("GET", "/health"), ("POST", "/health"), ("GET", "/health"), ("GET", "/nowhere")):
        connection.request(method, target)
        answer = connection.getresponse()
        answer.read()
        assert answer.will_close == (method == "POST")
    connection.close()


def test_many_clients_at_once_get_what_one_gets(port):
    targets = [f"/recommend?user={user}&k=4" for user in range(40)]
    alone = [ask(port, target) for target in targets]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda target: ask(port, target), targets)) == alone


def trickle(port, text=b"GET /health HTTP/1.1\r\nX-Slow: "):
    """A connection whose request never ends."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(text)
    return connection


def test_clients_that_never_finish_a_request_do_not_keep_others_out(home, monkeypatch):
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 4)
    with served(*home) as port:
        slow = [trickle(port) for _ in range(6)]
        assert [ask(port, "/health")[0] for _ in range(6)] == [200] * 6
        assert slow[0].recv(100) == b""  # closed: it had waited longest
        for connection in slow:
            connection.close()


def test_a_request_has_a_deadline_however_slowly_it_comes(home, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(module.Handler, "timeout", None)  # of single reads, which bytes that trickle in never reach
    with served(*home) as port:
        for text in (b"", b"GET", b"GET /health HTTP/1.1\r\nX: y\r\n"):
            connection = trickle(port, text)
            assert connection.recv(100) == b""
            connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\x16\x03\x01garbage\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET /health HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nGET / HT\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with suppress(ConnectionError):  # the server may close before it has read all
            connection.sendall(data)
        answer = b""
        while part := read(connection):
            answer += part
    status = answer.split(b" ")[1] if answer.startswith(b"HTTP/") else b"400"
    assert status in (b"400", b"431", b"505") and answer.count(b"HTTP/1.") <= 1
    assert ask(port, "/health")[0] == 200


def read(connection):
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:  # closed before all that was sent had been read
        return b""


def test_a_port_that_is_taken_is_one_line(home, port):
    run, dataset = home
    result = CliRunner().invoke(cli, ["serve", str(run), str(dataset.path), "--port", str(port)])
    assert result.exit_code == 2 and f"cannot listen on 127.0.0.1 port {port}" in result.output


@pytest.mark.slow
def test_the_page_shows_a_user_at_home_and_elsewhere_and_why(home, port, browser):
    page = browser.new_page(viewport={"width": 360, "height": 740})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector("#second li")
    page.fill("#user", "3")
    page.dispatch_event("#user", "change")
    page.wait_for_function("document.querySelector('#own-title').textContent.startsWith('User 3 at home')")
    shown = page.locator("#own li button").all_inner_texts()
    assert shown == [t["name"] for t in ask(port, "/recommend?user=3")[1]["titles"]]
    page.locator("#own li button").first.click(delay=300)  # the field is left when the button goes down
    page.wait_for_selector("#why table")
    assert shown[0] in page.locator("#why h2").inner_text()
    page.fill("#user", "nobody")
    page.dispatch_event("#user", "change")
    page.wait_for_function("document.querySelector('#message').textContent.includes('no such user')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360 and not errors
    page.close()
