from contextlib import closing
from http.client import HTTPConnection
from socket import create_connection
from urllib.parse import urlencode, urlsplit

import pytest

from c7n_ingress_tools.embedded_aws.server import Call

FORM = urlencode({"Action": "CreateTopic", "Name": "a-topic", "Version": "2010-03-31"})
SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20261124/us-east-1/{}/aws4_request"
HEADERS = {"Authorization": SIGNED.format("sns"), "Content-Type": "application/x-www-form-urlencoded"}
MADE = Call("sns", "CreateTopic", "us-east-1", None)


@pytest.fixture
def connection(cloud):
    """Return a connection to the embedded AWS."""
    with closing(HTTPConnection(urlsplit(cloud.endpoint).netloc)) as connection:
        yield connection


def test_a_connection_stays_open(cloud, connection):
    """One connection serves one request after another."""
    connection.connect()
    opened = connection.sock
    for _ in range(3):
        connection.request("POST", "/", FORM, HEADERS)
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"a-topic" in answer.read()
        assert connection.sock is opened
    assert cloud.calls == [MADE] * 3


def test_what_has_no_body(cloud, connection):
    """To a HEAD the answer is its headers alone, and the connection serves on."""
    cloud.session().client("s3").create_bucket(Bucket="a-bucket")
    for method in ("HEAD", "HEAD", "GET"):
        connection.request(method, "/a-bucket", headers={"Authorization": SIGNED.format("s3")})
        answer = connection.getresponse()
        assert answer.status == 200
        assert bool(answer.read()) == (method == "GET")


def test_half_a_request_is_none(cloud):
    """Nothing is done for a client that hangs up before its request is whole."""
    address = urlsplit(cloud.endpoint)
    head = "".join(f"{name}: {value}\r\n" for name, value in {**HEADERS, "Content-Length": len(FORM) + 1}.items())
    with create_connection((address.hostname, address.port)) as half:
        half.sendall(f"POST / HTTP/1.1\r\n{head}\r\n{FORM}".encode())
        half.shutdown(1)
        assert half.recv(1) == b""
    assert cloud.calls == []
    assert cloud.session().client("sns").list_topics()["Topics"] == []


def test_a_request_of_unknown_length(cloud, connection):
    """A request that is to come in chunks is refused, as S3 does, and is not taken for an empty one."""
    connection.putrequest("POST", "/")
    for header in {**HEADERS, "Transfer-Encoding": "chunked"}.items():
        connection.putheader(*header)
    connection.endheaders()
    assert connection.getresponse().status == 411
    assert cloud.calls == []
