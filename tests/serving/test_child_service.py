import os
import signal
import socket
import sys
import time
from urllib.request import urlopen

import psutil
import pytest

from recsys_lib.serving.child_service import ServiceFailed, running_service

LISTEN = """
import http.server, os, signal, sys
server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
)
"""
SAY = """
print("loading", file=sys.stderr, flush=True)
print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
MORTAL = """
def die(*_):
    print('out of luck', flush=True)
    os._exit(3)
signal.signal(signal.SIGUSR1, die)
"""


def python(*lines):
    return [sys.executable, "-c", "\n".join(lines)]


def end(service):
    os.kill(service.pid, signal.SIGUSR1)
    while psutil.Process(service.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


def test_it_listens_inside_the_block_and_is_gone_after_it(tmp_path):
    log = tmp_path / "a.log"
    command = python(LISTEN, SAY)
    with running_service(command, log=log, cwd=tmp_path) as service:
        with urlopen(service.url + "/a.log") as answer:
            assert answer.status == 200
        assert psutil.pid_exists(service.pid)
    assert not psutil.pid_exists(service.pid)
    assert log.read_text().startswith(f"loading\nlistening on {service.url}\n")


def test_it_has_the_environment_that_it_is_given():
    command = python(LISTEN, "print(os.environ['SHOP'], flush=True)", "sys.exit(1)")
    with (
        pytest.raises(ServiceFailed, match="status 1; its log:\nopen"),
        running_service(command, env={**os.environ, "SHOP": "open"}),
    ):
        pytest.fail("it must not get here")


def test_one_that_cannot_start_fails_with_its_log():
    with (
        pytest.raises(ServiceFailed, match=r"(?s)status 1.*ValueError: no such model"),
        running_service(python("raise ValueError('no such model')")),
    ):
        pytest.fail("it must not get here")


LATE = """
class Late(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Late.asked += 1
        self.send_response(200 if Late.asked > 2 else 503)
        self.end_headers()
        self.wfile.write(str(Late.asked).encode())
    def log_message(self, *_): ...
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Late)
server.serve_forever()
"""


def test_one_that_prints_no_address_is_asked_until_it_serves():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [*python(LISTEN, LATE), str(port)]
    with running_service(command, health=f"{address}/health") as service:
        assert service.url == address
        with urlopen(address) as answer:
            assert answer.read() == b"4"  # two were refused, the third was its health


def test_one_that_says_nothing_is_named_so():
    with (
        pytest.raises(ServiceFailed, match=r"status 0; its log:\n\(empty\)"),
        running_service(python("pass")),
    ):
        pytest.fail("it must not get here")


def test_one_that_does_not_listen_in_time_is_stopped():
    def children():
        return psutil.Process().children()

    before = children()
    command = python("import time", "print('still here', flush=True)", "time.sleep(60)")
    with (
        pytest.raises(ServiceFailed, match=r"not listen within 0\.3 s"),
        running_service(command, start_s=0.3),
    ):
        pytest.fail("it must not get here")
    assert children() == before


def test_one_that_dies_fails_at_the_end_of_the_block():
    with (
        pytest.raises(ServiceFailed, match=r"(?s)status 3.*out of luck"),
        running_service(python(LISTEN, MORTAL, SAY)) as service,
    ):
        end(service)


def test_what_fails_because_it_died_is_the_cause():
    def ask_too_late(service):
        end(service)
        urlopen(service.url)

    with (
        pytest.raises(ServiceFailed, match="out of luck") as failed,
        running_service(python(LISTEN, MORTAL, SAY)) as service,
    ):
        ask_too_late(service)
    assert isinstance(failed.value.__cause__, OSError)


def test_what_fails_while_it_lives_is_raised_as_it_is():
    with (
        pytest.raises(KeyError, match="mine"),
        running_service(python(LISTEN, SAY)) as s,
    ):
        raise KeyError("mine")
    assert not psutil.pid_exists(s.pid)


def test_an_interrupt_stops_it():
    with pytest.raises(KeyboardInterrupt), running_service(python(LISTEN, SAY)) as s:
        raise KeyboardInterrupt
    assert not psutil.pid_exists(s.pid)


def test_one_that_ignores_sigterm_is_killed():
    command = python(LISTEN, STUBBORN, SAY)
    with running_service(command, stop_s=0.2) as service:
        pass
    assert not psutil.pid_exists(service.pid)


def test_a_command_that_is_not_there_is_named():
    with (
        pytest.raises(OSError, match="no-such-command"),
        running_service(["no-such-command"]),
    ):
        pytest.fail("it must not get here")
