"""Servers under test. Each is a process of the real binary on free ports of the loopback interface."""

import pytest

from harness import Server


def pytest_addoption(parser):
    parser.addoption("--causeway", required=True, help="the binary")


@pytest.fixture(scope="session")
def binary(request):
    return request.config.getoption("--causeway")


@pytest.fixture(scope="session")
def shared_server(binary):
    with Server(binary) as server:
        yield server
        assert server.running(), server.log_text()


@pytest.fixture
def server(shared_server):
    """The server that most tests share. A test must leave it answering and idle."""
    yield shared_server
    assert shared_server.running(), shared_server.log_text()
    shared_server.wait_until_idle()


@pytest.fixture
def start(binary):
    """start(*flags): a server of the test's own."""
    servers = []

    def begin(*flags, **kwargs):
        servers.append(Server(binary, *flags, **kwargs))
        return servers[-1]

    yield begin
    for each in servers:
        each.close()
