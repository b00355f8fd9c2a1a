"""Downloads large files: continues broken ones, checks them, and opens few connections.

A file grows as NAME.part; NAME.part.json holds what the server says of its content. It becomes
NAME once it has the announced size and SHA-256 (where the server gives none, a zip archive must
agree with the CRCs in it), and is then listed in SHA256SUMS beside it: `sha256sum -c SHA256SUMS`
checks a copy.

Hugging Face redirects /resolve/ URLs to a content network, and gives the SHA-256 in the header
X-Linked-Etag of the redirect. The network itself sends neither ETag nor Last-Modified, so there
the SHA-256 tells whether the rest belongs to what is here already; elsewhere If-Range does.
"""

import dataclasses
import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import threading
import urllib.parse
import zipfile
from collections.abc import Sequence
from multiprocessing import pool
from typing import TYPE_CHECKING

from tempo_jax import extras, files, progress, version
from tempo_jax.errors import InputError

if TYPE_CHECKING:
  import requests

_BUSY = (408, 429, 500, 502, 503, 504)


@dataclasses.dataclass(frozen=True)
class Patience:
  """How long to go on with a file.

  Attributes:
    tries: in a row that bring nothing new, or find the server busy, until it is given up.
    backoff_s: pause after the first of them, s; it doubles from try to try.
    timeout_s: to connect, and between two packets, s.
    chunk_bytes: received at once: as much may be lost when a connection breaks.
  """

  tries: int = 6
  backoff_s: float = 1.0
  timeout_s: tuple[float, float] = (10.0, 60.0)
  chunk_bytes: int = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Remote:
  """A file on a server, and where it belongs here."""

  url: str
  path: pathlib.Path

  @property
  def part(self) -> pathlib.Path:
    """What has arrived."""
    return self.path.with_name(f'{self.path.name}.part')

  @property
  def notes(self) -> pathlib.Path:
    """What the server said of the file that `part` is the beginning of."""
    return self.path.with_name(f'{self.path.name}.part.json')


def fetch(
  remotes: Sequence[Remote], *, connections: int = 3, patience: Patience | None = None
) -> list[str]:
  """Downloads the files that are not there yet, and continues those that were begun.

  Args:
    remotes: what to download; folders are made as needed. A file that is there is not checked.
    connections: how many files at a time, each over one connection.
    patience: with servers and networks; by default `Patience()`.

  Returns:
    One line for each file that failed, in the order of `remotes`; empty if all are there now.

  Raises:
    InputError: no server answered at all.
  """
  todo = list({remote.path: remote for remote in remotes if not remote.path.exists()}.values())
  if not todo:
    return []
  for library in ('requests', 'urllib3'):
    extras.require(library, 'prepare')
  # Threads of a pool die with the program: Ctrl-C need not wait for a server.
  threads = pool.ThreadPool(min(connections, len(todo)))
  with progress.Progress(desc='download', unit='B', unit_scale=True) as shown, threads:
    downloads = _Downloads(_Counts(shown, len(todo)), patience or Patience())
    try:
      errors = threads.map(downloads.get, todo, chunksize=1)
    finally:
      downloads.stop.set()
  if downloads.silent and not downloads.answered:
    more = f' (and {len(todo) - 1} more files)' if len(todo) > 1 else ''
    raise InputError(
      f'{next(iter(downloads.silent.values()))}: there is no network here, or the server is down: '
      f'try again later, or download {todo[0].url}{more} by hand to {todo[0].path.parent}'
    )
  return [error for error in errors if error]


class _DownloadError(Exception):
  """What to tell of a file that cannot be had."""


@dataclasses.dataclass(frozen=True)
class _Content:
  """What a server says of a file."""

  size: int | None  # bytes
  sha256: str | None
  validator: str | None  # strong ETag or Last-Modified, for If-Range

  @classmethod
  def of(cls, response: 'requests.Response') -> '_Content':
    headers = response.headers
    # An ETag of 64 digits need not be a checksum (RFC 9110, 8.8.3); that of a link is.
    linked = [answer.headers.get('X-Linked-Etag', '') for answer in (*response.history, response)]
    etag = headers.get('ETag', '')
    sha256 = re.search(r'\b[0-9a-f]{64}\b', ' '.join(linked))
    size = headers.get('Content-Length')
    if response.status_code == 206:
      size = headers.get('Content-Range', '').rpartition('/')[2]
    return cls(
      size=int(size) if size and size.isdigit() else None,
      sha256=sha256 and sha256[0],
      # With a SHA-256 it could only do harm: the servers of a network may not agree on it.
      validator=None if sha256 else etag if etag.startswith('"') else headers.get('Last-Modified'),
    )

  def contradicts(self, other: '_Content') -> bool:
    """An answer to a range request need not repeat everything."""
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


class _Downloads:
  """What the threads do, and share."""

  def __init__(self, counts: '_Counts', patience: Patience):
    self.stop = threading.Event()
    self.answered: set[str] = set()  # hosts
    self.silent: dict[str, str] = {}  # hosts, and what came instead of an answer
    self._full: dict[pathlib.Path, str] = {}  # folders on full disks, and what to tell
    self._counts, self._patience = counts, patience
    self._lock = threading.Lock()

  def get(self, remote: Remote) -> str | None:
    """Downloads one file; returns a line that says why it could not."""
    try:
      self._get(remote)
    except _DownloadError as error:
      return ' '.join(f'{remote.path}: {error}'.split())
    except InputError as error:  # notes or checksums
      return f'{remote.path}: {error}'
    except OSError as error:
      what = f'cannot be written ({error.strerror}): '
      if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f'{remote.path}: {what}choose another folder, or correct its permissions'
      what += 'make space and run again, which continues what has arrived'
      self._full[remote.path.parent] = what
      return f'{remote.path}: {what}'
    self._counts.add(files=1)
    return None

  def _get(self, remote: Remote) -> None:
    host = _host(remote.url)
    if host in self.silent and host not in self.answered:
      raise _DownloadError(self.silent[host])
    if remote.path.parent in self._full:
      raise _DownloadError(self._full[remote.path.parent])
    for _ in range(2):
      content = self._complete(remote)
      digest = _sha256(remote.part)
      problem = _problem(remote, content, digest)
      if not problem:
        # Listed first: a file that is there is never looked at again.
        with self._lock:
          _list_checksum(remote.path, digest)
        os.replace(remote.part, remote.path)
        remote.notes.unlink()
        return
      remote.part.unlink()
      remote.notes.unlink()
    raise _DownloadError(
      f'{remote.url}: twice not what its server announced: {problem}: try again later, or '
      f'download it by hand to {remote.path.parent}'
    )

  def _complete(self, remote: Remote) -> _Content:
    """Downloads what is missing, over as many connections as that takes."""
    # Of the extra `prepare`.
    import requests
    from requests import exceptions

    broken = (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError)
    most, failures = _size(remote.part), 0
    while True:
      try:
        content = self._continue(remote)
        if content and _size(remote.part) >= (content.size or 0):
          return content
        reason = 'less came than was announced'
      except broken as error:
        reason = _reason(error)
        if _host(remote.url) not in self.answered:
          host = _host(str(error.request.url) if error.request else remote.url)
          self.silent[_host(remote.url)] = f'{host} does not answer ({reason})'
          raise _DownloadError(self.silent[_host(remote.url)]) from error
      except requests.RequestException as error:
        raise _DownloadError(f'{remote.url}: {error}: correct the URL') from error
      # By the most there ever was: a server that always begins anew brings nothing new.
      failures = 1 if _size(remote.part) > most else failures + 1
      most = max(most, _size(remote.part))
      if failures == self._patience.tries:
        raise _DownloadError(
          f'{remote.url}: broken off {failures} times in a row ({reason}): run again to continue '
          f'after {_size(remote.part)} bytes'
        )
      if self.stop.wait(self._patience.backoff_s * 2 ** (failures - 1)):
        raise _DownloadError('stopped')

  def _continue(self, remote: Remote) -> _Content | None:
    """One request for what is missing; None if it does not belong to what is here."""
    known = _read_notes(remote.notes)
    start = _size(remote.part) if known and (known.sha256 or known.validator) else 0
    headers = {}
    if known and start:
      if start == known.size:
        return known
      headers = {'Range': f'bytes={start}-'}
      if known.validator:
        headers['If-Range'] = known.validator
    timeout = self._patience.timeout_s
    with (
      _session(self._patience) as session,
      session.get(remote.url, headers=headers, stream=True, timeout=timeout) as response,
    ):
      self.answered.add(_host(remote.url))
      content = _Content.of(response)
      if response.status_code == 200:
        remote.part.parent.mkdir(parents=True, exist_ok=True)
        remote.part.write_bytes(b'')  # before the notes, which do not fit what it held
        files.write_text(remote.notes, json.dumps(dataclasses.asdict(content)))
        self._receive(response, remote.part, 0, content.size)
        return content
      if response.status_code not in (206, 416):
        raise _DownloadError(_refusal(remote, response))
      here = response.headers.get('Content-Range', '').startswith(f'bytes {start}-')
      if not here or known is None or content.contradicts(known):
        remote.part.unlink(missing_ok=True)
        return None
      self._receive(response, remote.part, start, content.size)
      return known

  def _receive(
    self, response: 'requests.Response', part: pathlib.Path, start: int, size: int | None
  ) -> None:
    missing = 0 if size is None else size - start
    self._counts.add(expected=missing)
    try:
      with part.open('r+b') as handle:
        handle.seek(start)
        for chunk in response.iter_content(self._patience.chunk_bytes):
          if self.stop.is_set():
            raise _DownloadError('stopped')
          handle.write(chunk)
          missing -= len(chunk)
          self._counts.add(received=len(chunk))
    finally:
      self._counts.add(expected=-missing)


class _Counts:
  """Files and bytes of all threads together, and their progress."""

  def __init__(self, shown: progress.Progress, num_files: int):
    self._shown = shown
    self._num_files, self._files, self._received, self._expected = num_files, 0, 0, 0
    self._lock = threading.Lock()

  def add(self, *, received: int = 0, expected: int = 0, files: int = 0) -> None:
    """Counts bytes that came, bytes that are to come (below 0: that will not), whole files."""
    with self._lock:
      self._received += received
      self._expected += expected
      self._files += files
      counts = f'{self._files} of {self._num_files} files'
      self._shown.bar.total = self._expected
      line = f'download: {counts}, {self._received / 1e6:.0f} MB so far'
      self._shown.update(received, line, postfix=counts)


def _session(patience: Patience) -> 'requests.Session':
  """Waits and tries again where a server is busy."""
  # Of the extra `prepare`.
  import requests
  import urllib3
  from requests import adapters

  retry = urllib3.Retry(
    patience.tries - 1,
    connect=2,
    read=2,
    status_forcelist=_BUSY,
    raise_on_status=False,
    backoff_factor=patience.backoff_s,
  )
  # It warns at every try; what comes of them is said at the end.
  logging.getLogger('urllib3').setLevel(logging.ERROR)
  session = requests.Session()
  for scheme in ('http://', 'https://'):
    session.mount(scheme, adapters.HTTPAdapter(max_retries=retry))
  session.headers['Accept-Encoding'] = 'identity'  # ranges would count compressed bytes
  session.headers['User-Agent'] = f'tempo_jax/{version.__version__} {session.headers["User-Agent"]}'
  return session


def _host(url: str) -> str:
  return urllib.parse.urlsplit(url).netloc


def _refusal(remote: Remote, response: 'requests.Response') -> str:
  what = f'{remote.url}: {response.status_code} {response.reason}: '
  if response.status_code == 404:
    return what + 'the server has no such file: correct its name, or leave it out'
  return what + f'try again later, or download it by hand to {remote.path.parent}'


def _reason(error: BaseException) -> str:
  """The innermost cause: requests and urllib3 wrap it in long texts."""
  while error.__context__:
    error = error.__context__
  return str(error) or type(error).__name__


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _read_notes(notes: pathlib.Path) -> _Content | None:
  try:
    return _Content(**json.loads(notes.read_text()))
  except (OSError, ValueError, TypeError):  # then the download begins anew
    return None


def _problem(remote: Remote, content: _Content, digest: str) -> str | None:
  """What is wrong with a file that has arrived."""
  size = _size(remote.part)
  if content.size not in (None, size):
    return f'{size} bytes in place of {content.size}'
  if content.sha256:
    return None if digest == content.sha256 else f'SHA-256 {digest} in place of {content.sha256}'
  if remote.path.suffix == '.zip':
    try:
      with zipfile.ZipFile(remote.part) as archive:
        damaged = archive.testzip()
    except Exception as error:  # zipfile passes on whatever its decompressors raise
      return f'no sound zip archive ({error})'
    return damaged and f'{damaged} in the archive is damaged'
  return None


def _sha256(path: pathlib.Path) -> str:
  with path.open('rb') as handle:
    return hashlib.file_digest(handle, 'sha256').hexdigest()


def _list_checksum(path: pathlib.Path, digest: str) -> None:
  sums = path.with_name('SHA256SUMS')
  lines = sums.read_text().splitlines() if sums.exists() else []
  by_name = {line[66:]: line for line in lines} | {path.name: f'{digest}  {path.name}'}
  files.write_text(sums, ''.join(f'{by_name[name]}\n' for name in sorted(by_name)))
