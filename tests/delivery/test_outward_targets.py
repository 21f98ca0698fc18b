"""Reading URLs that strangers gave: one way, and refused where there could be two; pure."""

import pytest

from chimeway.delivery.outward.targets import Target, follow, read_target


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.org", ("https", "example.org", 443, "/"), "example.org"),
        ("HTTPS://EXAMPLE.org:443/A?b=c%20d#e", ("https", "example.org", 443, "/A?b=c%20d"), "example.org"),
        ("https://example.org.?x", ("https", "example.org", 443, "/?x"), "example.org"),
        ("https://example.org:/x", ("https", "example.org", 443, "/x"), "example.org"),
        ("https://a_b.example.org:8443/", ("https", "a_b.example.org", 8443, "/"), "a_b.example.org:8443"),
        ("http://example.org/", ("http", "example.org", 80, "/"), "example.org"),
        ("https://8.8.8.8/", ("https", "8.8.8.8", 443, "/"), "8.8.8.8"),
        ("https://[2606:4700:0::1]/", ("https", "2606:4700::1", 443, "/"), "[2606:4700::1]"),
        (
            "https://b\u00fccher.example/",
            ("https", "xn--bcher-kva.example", 443, "/"),
            "xn--bcher-kva.example",
        ),
        ("https://\u24d4xample\u3002org/", ("https", "example.org", 443, "/"), "example.org"),
        ("https://example.org/%2e%2e/@x:y", ("https", "example.org", 443, "/%2e%2e/@x:y"), "example.org"),
    ],
)
def test_what_is_read(url: str, target: tuple[str, str, int, str], authority: str) -> None:
    """Scheme and host in small letters, the usual port said by none, the path as it was."""
    found = read_target(url, http=True, ports={80, 443, 8443})
    assert found == Target(*target)
    assert found.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://x/",
        "https:/example.org", "https:///x", "https://", "https://?x", "https://:443/", " https://example.org",
        "https://example.org\n", "https://exa mple.org/", "https://exam\tple.org/", "https://example.org/a b",
        "https://example.org/\r\nHost: inside", "https://example.org/\u00e4", "https://example.org/\x00",
        "https://user@example.org/", "https://user:secret@example.org/", "https://good.example@10.0.0.1/",
        "https://good.example%40evil.example/", "https://good.example\\@10.0.0.1/", "https://\\\\10.0.0.1/",
        "https://10.0.0.1\\.good.example/", "https://good.example:443@10.0.0.1/", "https://@example.org/",
        "https://example.org:0/", "https://example.org:65536/", "https://example.org:4\u06643/",
        "https://example.org:+443/", "https://example.org:443:443/", "https://example.org:22/",
        "https://example..org/", "https://.example.org/", "https://example.org../", "https://-a.example/",
        "https://exa%6dple.org/", "https://[::1", "https://::1/", "https://[fe80::1%25eth0]/", "https://[v1.x]/",
        "https://[1.2.3.4]/", f"https://{'a' * 64}.example/", f"https://{'a.' * 130}example/",
        "https://example.org/" + "a" * 2_048, "https://*.example.org/", "https://\u00ad/", "https://xn--\u00e4/",
    ],
)  # fmt: skip
def test_what_is_refused(url: str) -> None:
    """What could be read in two ways, or holds a password, is no target; nothing of it is said again."""
    with pytest.raises(ValueError, match=r"^[a-z -]") as caught:
        read_target(url)
    assert "example" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0",
        "127.0.0.01", "127.0.0.1.1", "256.1.1.1", "1.1.1.256", "0x", "1.2.3.0x4", "1.2.3.08", "example.123",
        "\uff11\uff12\uff17.1", "\u2460\u2461\u2466.1",
    ],
)  # fmt: skip
def test_numbers_that_are_no_plain_address(host: str) -> None:
    """Decimal, octal, hexadecimal and short spellings of addresses are refused: each reader has its own."""
    for url in (f"https://{host}/", f"https://{host}./"):
        with pytest.raises(ValueError, match="number"):
            read_target(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "\uff11\uff12\uff17\uff0e0.0.1", "\u2460\u2461\u2466\u30020.0.1", "127.0.0.1."]
)
def test_spellings_of_one_address_become_it(host: str) -> None:
    """Digits and dots of other scripts become ASCII before anybody judges the host."""
    assert read_target(f"https://{host}/").host == "127.0.0.1"


def test_http_must_be_allowed() -> None:
    """Without it only https is read, and by either only their ports."""
    with pytest.raises(ValueError, match="only https"):
        read_target("http://example.org/")
    with pytest.raises(ValueError, match="port"):
        read_target("http://example.org:8080/", http=True)
    assert read_target("https://example.org:8443/", ports={8443}).port == 8443
    with pytest.raises(ValueError, match="port"):
        read_target("https://example.org/", ports={8443})


@pytest.mark.parametrize(
    ("location", "host", "path"),
    [
        ("/there?x", "example.org", "/there?x"),
        ("there", "example.org", "/a/there"),
        ("?x", "example.org", "/a/b?x"),
        ("//other.example/c", "other.example", "/c"),
        ("https://other.example/c", "other.example", "/c"),
    ],
)
def test_where_a_redirect_leads(location: str, host: str, path: str) -> None:
    """A redirect is read against the URL that it came from."""
    found = follow(read_target("https://example.org/a/b"), location)
    assert (found.host, found.path) == (host, path)


@pytest.mark.parametrize(
    "location", ["http://example.org/", "https://[", "https://u:p@x/", "\\\\x", "file:///x", "https://x:1/"]
)
def test_a_redirect_obeys_the_same_rules(location: str) -> None:
    """It is judged as the first URL was, and never leads from https to http."""
    with pytest.raises(ValueError, match=r"it|its|where"):
        follow(read_target("https://example.org/"), location, http=True)
