"""Downloads against a server on this machine that breaks off, changes its mind and lies."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sciml_datasets.fetch import fetch, fetch_all, file_digest, read_sums

CONTENT = np.random.default_rng(31).bytes(300_000)
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; of the first answers `cut` bytes only; knows ranges unless told otherwise."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.cut, self.ranges, self.asked = CONTENT, '"one"', [], True, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path.endswith("absent"):
            return self.send_error(404)
        first = 0
        if asked and server.ranges and self.headers.get("If-Range") == server.tag:
            first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        size = len(server.content)
        if first >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            return self.end_headers()
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - first))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        end = first + server.cut.pop(0) if server.cut else size
        self.wfile.write(server.content[first:end])


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_fetch_puts_the_file_in_place_with_its_sum(tmp_path, server):
    path = tmp_path / "deep" / "a.bin"
    assert fetch(f"{server.url}/a.bin", path, sha256=SUM.upper()) == SUM
    assert path.read_bytes() == CONTENT
    assert [item.name for item in path.parent.iterdir()] == ["a.bin"]
    assert fetch(f"{server.url}/a.bin", path, sha256=SUM) == SUM
    assert len(server.asked) == 1  # what is there is not asked for again


def test_fetch_goes_on_where_it_was_cut_off_twice(tmp_path, server):
    path, server.cut = tmp_path / "a.bin", [100_000, 50_000]
    for done in ("100,000", "150,000"):
        sentence = f"^{server.url}/a.bin: expected a complete download, got .* after {done} bytes; run again to go on"
        with pytest.raises(ValueError, match=sentence):
            fetch(f"{server.url}/a.bin", path, sha256=SUM)
        assert not path.exists()
    assert fetch(f"{server.url}/a.bin", path, sha256=SUM) == SUM
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("change", ["other file", "no ranges", "no tag", "weak tag"])
def test_fetch_starts_anew_where_the_rest_might_be_of_another_file(tmp_path, server, change):
    path, server.cut = tmp_path / "a.bin", [100_000]
    if change in ("no tag", "weak tag"):
        server.tag = None if change == "no tag" else 'W/"one"'
    with pytest.raises(ValueError, match="run again to go on"):
        fetch(f"{server.url}/a.bin", path)
    if change == "other file":
        server.content, server.tag = CONTENT[::-1], '"two"'
    server.ranges = change != "no ranges"
    assert fetch(f"{server.url}/a.bin", path) == hashlib.sha256(server.content).hexdigest()
    assert path.read_bytes() == server.content


def test_fetch_of_a_part_that_lacks_nothing_ends(tmp_path, server):
    path = tmp_path / "a.bin"
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    (tmp_path / "a.bin.part.tag").write_text(server.tag)
    assert fetch(f"{server.url}/a.bin", path, sha256=SUM) == SUM
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]
    path.unlink()
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.bin.part.tag").write_text(server.tag)
    with pytest.raises(ValueError, match="HTTP Error 416"):
        fetch(f"{server.url}/a.bin", path, sha256=SUM)
    assert fetch(f"{server.url}/a.bin", path, sha256=SUM) == SUM


def test_fetch_refuses_what_has_another_sum_and_leaves_nothing(tmp_path, server):
    path, wrong = tmp_path / "a.bin", "0" * 64
    with pytest.raises(ValueError, match=f"a.bin: expected the SHA-256 {wrong}, got {SUM}; check the sum"):
        fetch(f"{server.url}/a.bin", path, sha256=wrong)
    assert not any(item.suffix in (".bin", ".part") for item in tmp_path.iterdir())
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match=r"a.bin: expected the SHA-256 .*; remove the file to download it again"):
        fetch(f"{server.url}/a.bin", path, sha256=SUM)
    assert path.read_bytes() == b"older"


def test_fetch_tells_bad_addresses_and_sums_in_one_sentence(tmp_path, server):
    path = tmp_path / "a.bin"
    for url, sentence in [
        (f"{server.url}/absent", "expected a complete download, got HTTP Error 404.* after 0 bytes; check address"),
        ("http://127.0.0.1:9/x", "expected a complete download, got .*; check address and connection"),
        (f"file://{tmp_path}/secret", "expected an address that starts with http:// or https://, got another"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(url)}: {sentence}"):
            fetch(url, path)
    with pytest.raises(ValueError, match=r"^sha256: expected 64 hexadecimal digits, got abc; copy the whole sum"):
        fetch(server.url, path, sha256="abc")
    assert list(tmp_path.iterdir()) == []


def test_fetch_of_many_keeps_their_sums_and_checks_them_the_next_time(tmp_path, server):
    names = {"trees/a b.pt": None, "c.hdf5": SUM}
    found = fetch_all(f"{server.url}/bench/", names, tmp_path)
    assert found == dict.fromkeys(names, SUM) == read_sums(tmp_path / "SHA256SUMS")
    assert {path for path, _ in server.asked} == {"/bench/trees/a%20b.pt", "/bench/c.hdf5"}
    assert fetch_all(server.url, names, tmp_path) == found
    assert len(server.asked) == 2
    (tmp_path / "trees" / "a b.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"a b.pt: expected the SHA-256 .*; remove the file"):
        fetch_all(server.url, names, tmp_path)
    assert file_digest(tmp_path / "c.hdf5") == SUM
    for name in ("../c", "/etc/c", "a/../../c", "", "a\\b"):
        with pytest.raises(ValueError, match="names: expected paths below the folder"):
            fetch_all(server.url, {name: None}, tmp_path)


def test_fetch_reads_sums_as_sha256sum_writes_them(tmp_path):
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"{SUM}  a b.bin\n\n{SUM.upper()} *c.bin\n")
    assert read_sums(path) == {"a b.bin": SUM, "c.bin": SUM}
    path.write_text(f"{SUM}  a\nnonsense\n")
    with pytest.raises(ValueError, match="SHA256SUMS line 2: expected a SHA-256, two blanks, a name, got nonsense"):
        read_sums(path)
    with pytest.raises(ValueError, match="expected a file of sums"):
        read_sums(tmp_path / "absent")
