"""Against a server on this machine that does what servers and networks do wrong."""

import dataclasses
import hashlib
import http.server
import io
import itertools
import json
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import types
import zipfile

import pytest

from tempo_jax import progress
from tempo_jax.errors import InputError
from tempo_jax.preparation import download
from tempo_jax.preparation.download import Remote
from tests import disk

CHUNK = 1000  # bytes that a broken connection may lose
PATIENCE = download.Patience(backoff_s=0.0, chunk_bytes=CHUNK)


@dataclasses.dataclass
class Served:
  """A file on the server, and what goes wrong with it, request by request."""

  data: bytes
  headers: dict[str, str] = dataclasses.field(default_factory=lambda: {'ETag': '"1"'})
  ranges: bool = True
  if_range: bool = True  # the server looks at it
  shift: int = 0  # between the range that was asked for and the one that is sent
  longest: int | None = None  # bytes of a range that the server sends at once
  length: bool = True  # the server announces it
  breaks: list[int] = dataclasses.field(default_factory=list)  # bytes after which it hangs up
  refusals: list[tuple[int, dict[str, str]]] = dataclasses.field(default_factory=list)
  redirect: dict[str, str] | None = None  # headers of an answer that leads to NAME.data
  halfway: threading.Event | None = None  # the first half has been sent
  proceed: threading.Event | None = None  # the second half may be


class Server(http.server.ThreadingHTTPServer):
  def __init__(self):
    super().__init__(('127.0.0.1', 0), Handler)
    self.url = f'http://127.0.0.1:{self.server_address[1]}'
    self.files: dict[str, Served] = {}
    self.log: list[tuple[str, int, str | None]] = []  # path, status, Range
    self.if_ranges: list[str] = []
    self.agents: set[str] = set()
    self.sent = 0  # bytes of bodies
    self.delay_s = 0.0  # before an answer
    self.waiting = self.most_waiting = 0
    self.lock = threading.Lock()

  def put(self, name, data, **kwargs):
    self.files['/' + name] = Served(data, **kwargs)
    return self.files['/' + name]

  def ranges(self):
    """Where each body started."""
    bodies = [(status, wanted) for _, status, wanted in self.log if status in (200, 206)]
    return [int(wanted[6:-1]) if status == 206 else 0 for status, wanted in bodies]


class Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  server: Server

  def log_message(self, *_):
    pass

  def do_GET(self):
    server = self.server
    with server.lock:
      server.agents.add(self.headers['User-Agent'])
      server.if_ranges += filter(None, [self.headers['If-Range']])
      server.waiting += 1
      server.most_waiting = max(server.most_waiting, server.waiting)
    time.sleep(server.delay_s)
    with server.lock:
      server.waiting -= 1
    file = server.files.get(self.path.removesuffix('.data'))
    if file is None:
      self.answer(404, {})
    elif file.refusals:
      self.answer(*file.refusals.pop(0))
    elif file.redirect is not None and not self.path.endswith('.data'):
      self.answer(302, {'Location': f'{self.path}.data', **file.redirect})
    else:
      self.send_file(file)

  def send_file(self, file):
    total, start, wanted = len(file.data), 0, self.headers['Range']
    same = self.headers['If-Range'] in (None, *file.headers.values())
    if wanted and file.ranges and (same or not file.if_range):
      start = int(wanted.removeprefix('bytes=').removesuffix('-')) - file.shift
      if start >= total:
        self.answer(416, {'Content-Range': f'bytes */{total}'})
        return
    body = file.data[start:]
    headers = dict(file.headers)
    if start:
      body = body[: file.longest]
      headers['Content-Range'] = f'bytes {start}-{start + len(body) - 1}/{total}'
    if file.length:
      headers['Content-Length'] = str(len(body))
    else:
      headers['Transfer-Encoding'] = 'chunked'
    self.answer(206 if start else 200, headers)
    if file.breaks:
      self.send(body[: file.breaks.pop(0)], file.length)
      self.close_connection = True
      return
    half = len(body) // 2 if file.halfway else 0
    self.send(body[:half], file.length)
    if file.halfway:
      file.halfway.set()
      file.proceed.wait(10.0)
    self.send(body[half:], file.length)
    if not file.length:
      self.wfile.write(b'0\r\n\r\n')

  def answer(self, status, headers):
    with self.server.lock:
      self.server.log.append((self.path, status, self.headers['Range']))
    self.send_response(status)
    for name, value in {'Content-Length': '0', **headers}.items():
      if name != 'Content-Length' or 'Transfer-Encoding' not in headers:
        self.send_header(name, value)
    self.end_headers()

  def send(self, piece, plain):
    if not piece:
      return
    self.wfile.write(piece if plain else f'{len(piece):x}\r\n'.encode() + piece + b'\r\n')
    with self.server.lock:
      self.server.sent += len(piece)


@pytest.fixture
def server(monkeypatch):
  monkeypatch.setenv('no_proxy', '*')
  with Server() as server:
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture
def data(np_rng) -> bytes:
  return np_rng.bytes(20_000)


@pytest.fixture
def get(server, tmp_path):
  """Downloads files of the server to tmp_path / 'raw'."""

  def run(*names, patience=PATIENCE, **kwargs):
    files = [Remote(f'{server.url}/{name}', tmp_path / 'raw' / name) for name in names]
    return download.fetch(files, patience=patience, **kwargs)

  return run


@pytest.fixture
def raw(tmp_path) -> pathlib.Path:
  return tmp_path / 'raw'


def leave_part(server, get, name, num_bytes):
  """A download that came to an end after `num_bytes`."""
  server.files[f'/{name}'].breaks = [num_bytes, 0, 0, 0, 0, 0]
  (error,) = get(name)
  assert 'broken off 6 times' in error
  server.log.clear()
  server.sent = 0


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def sha256(data):
  return hashlib.sha256(data).hexdigest()


def zipped(content: bytes) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    archive.writestr('readme.txt', 'fine')
    archive.writestr('1abc_A_prod_R1_fit.xtc', content)
  return buffer.getvalue()


def test_files_and_checksums(server, get, raw, data):
  server.put('b.h5', data)
  server.put('a.h5', data[:77])
  server.put('empty.h5', b'')
  raw.mkdir()
  (raw / 'SHA256SUMS').write_text(f'{sha256(b"x")}  z.h5\n{sha256(b"old")} *b.h5\n')
  (raw / 'z.h5').write_bytes(b'x')
  assert get('b.h5', 'a.h5', 'empty.h5', 'b.h5') == []
  assert names(raw) == ['SHA256SUMS', 'a.h5', 'b.h5', 'empty.h5', 'z.h5']
  assert (raw / 'b.h5').read_bytes() == data
  assert (raw / 'a.h5').read_bytes() == data[:77]
  wanted = {'a.h5': data[:77], 'b.h5': data, 'empty.h5': b'', 'z.h5': b'x'}
  lines = [f'{sha256(content)}  {name}\n' for name, content in wanted.items()]
  assert (raw / 'SHA256SUMS').read_text() == ''.join(lines)
  subprocess.run(['sha256sum', '-c', '--strict', '--quiet', 'SHA256SUMS'], cwd=raw, check=True)
  assert len(server.log) == 3
  assert all(agent.startswith('tempo_jax/') for agent in server.agents)


def test_file_that_is_there_is_not_asked_for(server, get, raw, data):
  server.put('a.h5', data)
  raw.mkdir()
  (raw / 'a.h5').write_bytes(b'mine')
  assert get('a.h5') == []
  assert server.log == []
  assert names(raw) == ['a.h5']
  assert (raw / 'a.h5').read_bytes() == b'mine'


def test_connection_breaks_again_and_again(server, get, raw, data):
  # More often than there are tries, but each of them brings something.
  file = server.put('a.h5', data, breaks=[2500] * 7)
  assert get('a.h5') == []
  assert file.breaks == []
  assert (raw / 'a.h5').read_bytes() == data
  starts = server.ranges()
  assert len(starts) == 8
  assert all(0 < b - a <= 2500 for a, b in itertools.pairwise(starts))
  assert server.sent - len(data) < 7 * CHUNK


def test_connection_breaks_and_brings_nothing(server, get, raw, data):
  file = server.put('a.h5', data, breaks=[5500] + [0] * 100)
  (error,) = get('a.h5')
  assert re.match(r'.*raw/a\.h5: http://.*/a\.h5: broken off 6 times .*run again.*5000', error)
  assert len(server.log) == 6
  assert names(raw) == ['a.h5.part', 'a.h5.part.json']
  assert (raw / 'a.h5.part').read_bytes() == data[:5000]
  file.breaks.clear()
  server.log.clear()
  server.sent = 0
  assert get('a.h5') == []
  assert server.log == [('/a.h5', 206, 'bytes=5000-')]
  assert server.if_ranges[-1] == '"1"'
  assert server.sent == len(data) - 5000  # no byte twice
  assert (raw / 'a.h5').read_bytes() == data
  assert names(raw) == ['SHA256SUMS', 'a.h5']


def test_server_that_sends_less_than_asked_for(server, get, raw, data):
  server.put('a.h5', data, longest=6000)
  leave_part(server, get, 'a.h5', 5500)
  assert get('a.h5') == []
  assert server.ranges() == [5000, 11_000, 17_000]
  assert (raw / 'a.h5').read_bytes() == data


@pytest.mark.parametrize('length', [True, False])
def test_server_without_ranges(server, get, raw, data, length):
  server.put('a.h5', data, ranges=False, length=length, breaks=[5500, 4400])
  assert get('a.h5') == []
  assert [status for _, status, _ in server.log] == [200, 200, 200]
  assert (raw / 'a.h5').read_bytes() == data


def test_server_without_ranges_that_always_breaks(server, get, data):
  server.put('a.h5', data, ranges=False, breaks=[5500] * 100)
  (error,) = get('a.h5')
  assert 'broken off 6 times' in error
  assert len(server.log) == 6


def test_server_that_announces_no_length(server, get, raw, data):
  server.put('a.h5', data, length=False)
  assert get('a.h5') == []
  assert (raw / 'a.h5').read_bytes() == data


def test_nothing_to_tell_versions_apart(server, get, raw, data):
  """Without ETag and the like, what is here is not continued."""
  file = server.put('a.h5', data, headers={'ETag': 'W/"1"'})
  leave_part(server, get, 'a.h5', 5500)
  file.data = data[::-1]
  assert get('a.h5') == []
  assert server.ranges() == [0]
  assert (raw / 'a.h5').read_bytes() == data[::-1]


def test_last_modified(server, get, raw, data):
  date = 'Thu, 20 Nov 2025 10:00:00 GMT'
  server.put('a.h5', data, headers={'Last-Modified': date})
  leave_part(server, get, 'a.h5', 5500)
  assert get('a.h5') == []
  assert server.if_ranges[-1] == date
  assert server.ranges() == [5000]
  assert (raw / 'a.h5').read_bytes() == data


@pytest.mark.parametrize(
  ('changes', 'statuses'),
  [
    ({'headers': {'ETag': '"2"'}}, [200]),
    ({'headers': {'ETag': '"2"'}, 'size': 4_000}, [200]),
    # The others do not look at If-Range.
    ({'headers': {'ETag': '"2"'}, 'if_range': False}, [206, 200]),
    ({'size': 18_000, 'if_range': False}, [206, 200]),
    ({'size': 4_000, 'if_range': False}, [416, 200]),
    ({'shift': 100, 'if_range': False}, [206, 200]),
    ({'shift': -100, 'if_range': False}, [206, 200]),
  ],
)
def test_content_changes_between_calls(server, get, raw, data, changes, statuses):
  file = server.put('a.h5', data)
  leave_part(server, get, 'a.h5', 5500)
  file.data = data[::-1][: changes.pop('size', None)]
  for name, value in changes.items():
    setattr(file, name, value)
  assert get('a.h5') == []
  assert [status for _, status, _ in server.log] == statuses
  assert (raw / 'a.h5').read_bytes() == file.data


@pytest.mark.parametrize('notes', [None, '', '{"size": 1', '[]', '{"length": 20000}'])
def test_part_without_sound_notes_begins_anew(server, get, raw, data, notes):
  server.put('a.h5', data)
  raw.mkdir()
  (raw / 'a.h5.part').write_bytes(b'from elsewhere')
  if notes is not None:
    (raw / 'a.h5.part.json').write_text(notes)
  assert get('a.h5') == []
  assert server.log == [('/a.h5', 200, None)]
  assert (raw / 'a.h5').read_bytes() == data


def test_complete_part_is_not_asked_for(server, get, raw, data):
  """As after a kill between the last byte and the new name."""
  server.put('a.h5', data)
  leave_part(server, get, 'a.h5', 5500)
  (raw / 'a.h5.part').write_bytes(data)
  assert get('a.h5') == []
  assert server.log == []
  assert (raw / 'a.h5').read_bytes() == data


def test_hugging_face(server, get, raw, data):
  """The SHA-256 is in the redirect only; the content network sends no ETag."""
  linked = {'X-Linked-Etag': f'"{sha256(data)}"', 'X-Linked-Size': str(len(data)), 'ETag': '"git"'}
  file = server.put('a.h5', data, headers={}, redirect=linked)
  leave_part(server, get, 'a.h5', 5500)
  assert get('a.h5') == []
  assert server.log == [('/a.h5', 302, 'bytes=5000-'), ('/a.h5.data', 206, 'bytes=5000-')]
  assert server.if_ranges == []
  assert (raw / 'a.h5').read_bytes() == data

  # Another file under the same URL.
  (raw / 'a.h5').unlink()
  leave_part(server, get, 'a.h5', 5500)
  file.data = data[::-1]
  file.redirect = {'X-Linked-Etag': f'"{sha256(file.data)}"'}
  assert get('a.h5') == []
  assert [status for _, status, _ in server.log] == [302, 206, 302, 200]
  assert (raw / 'a.h5').read_bytes() == data[::-1]


def test_servers_of_a_network_may_disagree_about_validators(server, get, raw, data):
  linked = {'X-Linked-Etag': f'"{sha256(data)}"'}
  file = server.put('a.h5', data, headers={'ETag': f'"{"0" * 64}"'}, redirect=linked)
  leave_part(server, get, 'a.h5', 5500)
  file.headers = {'ETag': '"2"', 'Last-Modified': 'Thu, 20 Nov 2025 10:00:00 GMT'}
  assert get('a.h5') == []
  assert server.ranges() == [5000]
  assert (raw / 'a.h5').read_bytes() == data


def test_damaged_part_is_downloaded_again(server, get, raw, data):
  server.put('a.h5', data, redirect={'X-Linked-Etag': f'"{sha256(data)}"'})
  leave_part(server, get, 'a.h5', 5500)
  (raw / 'a.h5.part').write_bytes(b'\0' * 5000)
  assert get('a.h5') == []
  assert server.ranges() == [5000, 0]
  assert (raw / 'a.h5').read_bytes() == data


def test_wrong_checksum(server, get, raw, data):
  server.put('a.h5', data, redirect={'X-Linked-Etag': f'"{sha256(b"")}"'})
  server.put('b.h5', data)
  (error,) = get('a.h5', 'b.h5')
  assert re.search(rf'raw/a\.h5: .*twice.*SHA-256 {sha256(data)} in place of {sha256(b"")}', error)
  assert server.ranges() == [0, 0, 0]
  assert names(raw) == ['SHA256SUMS', 'b.h5']
  assert (raw / 'SHA256SUMS').read_text() == f'{sha256(data)}  b.h5\n'


def test_zip(server, get, raw, data):
  archive = zipped(data)
  damaged = bytearray(archive)
  damaged[len(archive) // 2] ^= 1  # within the second member, which is stored as it is
  server.put('good.zip', archive)
  server.put('bad.zip', bytes(damaged))
  server.put('page.zip', b'<html>maintenance</html>')
  bad, page = get('good.zip', 'bad.zip', 'page.zip')
  assert 'raw/bad.zip' in bad
  assert '1abc_A_prod_R1_fit.xtc in the archive is damaged' in bad
  assert 'raw/page.zip' in page
  assert 'no sound zip archive' in page
  assert names(raw) == ['SHA256SUMS', 'good.zip']
  # The server's checksum decides where there is one.
  digest = {'X-Linked-Etag': f'"{sha256(damaged)}"'}
  server.put('bad.zip', bytes(damaged), redirect=digest)
  assert get('bad.zip') == []


def test_not_found_and_refused(server, get, raw, data):
  server.put('gated.h5', data, refusals=[(403, {})])
  server.put('ok.h5', data)
  missing, gated = get('missing.h5', 'gated.h5', 'ok.h5')
  assert re.search(
    r'raw/missing\.h5: http://.*/missing\.h5: 404 Not Found: .*leave it out', missing
  )
  assert re.search(r'raw/gated\.h5: http://.*/gated\.h5: 403 Forbidden: .*by hand to .*raw', gated)
  assert sorted(server.log) == [
    ('/gated.h5', 403, None),
    ('/missing.h5', 404, None),
    ('/ok.h5', 200, None),
  ]
  assert names(raw) == ['SHA256SUMS', 'ok.h5']


def test_busy_server(server, get, raw, data, monkeypatch):
  naps = []
  clock = types.SimpleNamespace(sleep=naps.append, time=time.time)
  monkeypatch.setattr('urllib3.util.retry.time', clock)
  server.put('a.h5', data, refusals=[(503, {'Retry-After': '0'}), (429, {'Retry-After': '7'})])
  assert get('a.h5') == []
  assert naps == [7]
  assert (raw / 'a.h5').read_bytes() == data
  naps.clear()
  server.put('b.h5', data, refusals=[(503, {})] * 100)
  (error,) = get('b.h5', patience=dataclasses.replace(PATIENCE, backoff_s=0.5))
  assert 'b.h5: 503 Service Unavailable: try again later' in error
  assert naps == [1.0, 2.0, 4.0, 8.0]


def test_connections(server, get, raw, data):
  server.delay_s = 0.02
  for i in range(9):
    server.put(f'{i}.h5', data[i:])
  assert get(*(f'{i}.h5' for i in range(9)), connections=3) == []
  assert server.most_waiting == 3
  assert len((raw / 'SHA256SUMS').read_text().splitlines()) == 9


@pytest.fixture
def nowhere() -> str:
  """A URL at which nothing listens."""
  with socket.socket() as unused:
    unused.bind(('127.0.0.1', 0))
    return f'http://127.0.0.1:{unused.getsockname()[1]}'


def test_no_network(server, nowhere, raw, monkeypatch):
  files = [Remote(f'{nowhere}/{i}.h5', raw / f'{i}.h5') for i in range(50)]
  with pytest.raises(InputError) as error:
    download.fetch(files, patience=PATIENCE)
  (line,) = str(error.value).splitlines()
  host = nowhere.removeprefix('http://')
  assert re.match(
    rf'{host} does not answer \(\[Errno \d+\] Connection refused\): .*no network', line
  )
  assert line.endswith(f'{nowhere}/0.h5 (and 49 more files) by hand to {raw}')
  assert not raw.exists()

  def no_name(*_, **__):
    raise socket.gaierror(socket.EAI_AGAIN, 'Temporary failure in name resolution')

  monkeypatch.setattr(socket, 'getaddrinfo', no_name)
  with pytest.raises(
    InputError, match=r'^x\.org does not answer \(.*name resolution\): .*no network'
  ):
    download.fetch([Remote('http://x.org/a.h5', raw / 'a.h5')], patience=PATIENCE)


def test_one_server_is_down(server, nowhere, raw, data):
  server.put('a.h5', data)
  files = [Remote(f'{base}/a.h5', raw / str(i)) for i, base in enumerate([nowhere, server.url])]
  (error,) = download.fetch(files, connections=1, patience=PATIENCE)
  assert re.search(r'raw/0: 127\.0\.0\.1:\d+ does not answer', error)
  assert (raw / '1').read_bytes() == data


def test_url_without_sense(server, raw):
  (error,) = download.fetch([Remote('nonsense', raw / 'a')], patience=PATIENCE)
  assert 'raw/a: nonsense: Invalid URL' in error


def test_disk_full(server, get, raw, data):
  server.put('a.h5', data)
  server.put('b.h5', data)
  raw.mkdir()
  (raw / 'a.h5.part').symlink_to('/dev/full')
  a, b = get('a.h5', 'b.h5', connections=1)
  assert 'raw/a.h5: cannot be written (No space left on device): make space and run again' in a
  assert 'raw/b.h5: cannot be written (No space left on device)' in b
  assert server.log == [('/a.h5', 200, None)]
  (raw / 'a.h5.part').unlink()
  assert get('a.h5', 'b.h5') == []


def test_what_was_written_is_continued(server, get, raw, data):
  server.put('a.h5', data)
  with disk.files_end_at(5000):
    (error,) = get('a.h5')
  assert 'raw/a.h5: cannot be written (File too large): choose another folder' in error
  assert server.log == [('/a.h5', 200, None)]
  assert (raw / 'a.h5.part').read_bytes() == data[:5000]
  assert get('a.h5') == []
  assert server.log[1:] == [('/a.h5', 206, 'bytes=5000-')]
  assert (raw / 'a.h5').read_bytes() == data


def test_folder_that_cannot_be(server, get, raw, data):
  server.put('a.h5', data)
  raw.write_text('a file')
  (error,) = get('a.h5')
  assert re.search(r'raw/a\.h5: cannot be written \(.*\): choose another folder', error)


def test_interrupted_by_the_user(server, get, raw, data):
  # Larger than the buffer of the file: what has come is on the disk.
  patience = dataclasses.replace(PATIENCE, chunk_bytes=10_000)
  halfway, proceed = threading.Event(), threading.Event()
  file = server.put('a.h5', data, halfway=halfway, proceed=proceed)
  main = threading.main_thread().ident

  def interrupt():
    halfway.wait(10.0)
    part = raw / 'a.h5.part'
    while not part.exists() or part.stat().st_size < len(data) // 2:
      time.sleep(0.01)
    signal.pthread_kill(main, signal.SIGINT)

  others = set(threading.enumerate())
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  thread = threading.Thread(target=interrupt)
  thread.start()
  start = time.monotonic()
  try:
    with pytest.raises(KeyboardInterrupt):
      get('a.h5', patience=patience)
  finally:
    signal.signal(signal.SIGINT, before)
    thread.join()
  assert time.monotonic() - start < 5.0  # the server would have kept silent for 10 s
  proceed.set()
  for thread in set(threading.enumerate()) - others:
    thread.join()
  assert (raw / 'a.h5.part').read_bytes() == data[:10_000]  # and not a byte later
  assert json.loads((raw / 'a.h5.part.json').read_text())['size'] == len(data)
  file.halfway = None
  assert get('a.h5') == []
  assert server.log == [('/a.h5', 200, None), ('/a.h5', 206, 'bytes=10000-')]
  assert (raw / 'a.h5').read_bytes() == data


def test_progress_in_a_log(server, get, data, monkeypatch, capsys):
  monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0.0)
  server.put('a.h5', 100 * data)
  server.put('b.h5', data)
  assert get('a.h5', 'b.h5', connections=1) == []
  lines = capsys.readouterr().err.splitlines()
  assert 'download: 0 of 2 files, 1 MB so far' in lines
  assert lines[-1] == 'download: 2 of 2 files, 2 MB so far'
