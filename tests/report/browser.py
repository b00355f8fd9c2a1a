"""A headless Chromium, driven through its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import pathlib
import shutil
import subprocess
import time

import pytest
from tornado import httpclient, websocket

_NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_PATIENCE = 20.0  # s
# For keys that are more than their own text: name -> (code, text, number).
_KEYS = {
  'ArrowLeft': ('ArrowLeft', '', 37),
  'ArrowRight': ('ArrowRight', '', 39),
  'Home': ('Home', '', 36),
  'Tab': ('Tab', '', 9),
  'Enter': ('Enter', '\r', 13),
  ' ': ('Space', ' ', 32),
}


def path() -> str:
  """Of the browser; skips the test where there is none."""
  found = next(filter(None, map(shutil.which, _NAMES)), None)
  if found is None:
    pytest.skip(f'no browser on PATH: {", ".join(_NAMES)}')
  return found


class Browser:
  """One browser and one tab; a context manager.

  Attributes:
    events: (method, parameters) of all that happened since `open`.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._loop = asyncio.new_event_loop()
    self._ids = itertools.count(1)
    self.events: list[tuple[str, dict]] = []

  def __enter__(self):
    command = [path(), '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
    command += ['--no-first-run', '--remote-debugging-port=0', f'--user-data-dir={self._folder}']
    # Its own traffic is no page's.
    command += ['--disable-background-networking', '--disable-component-update']
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    self._process = subprocess.Popen([*command, 'about:blank'], **quiet)
    try:
      self._socket = self._loop.run_until_complete(self._connect())
      for domain in ('Page', 'Runtime', 'Log', 'Network'):
        self.call(f'{domain}.enable')
    except BaseException:
      self.__exit__()
      raise
    return self

  def __exit__(self, *_):
    self._process.terminate()
    self._process.wait(_PATIENCE)
    self._loop.close()

  async def _connect(self):
    port_file = self._folder / 'DevToolsActivePort'
    deadline = time.monotonic() + _PATIENCE
    while not (port_file.exists() and port_file.read_text().strip()):
      assert time.monotonic() < deadline, 'the browser does not start'
      await asyncio.sleep(0.05)
    port = port_file.read_text().split()[0]
    client = httpclient.AsyncHTTPClient()
    answer = await client.fetch(f'http://127.0.0.1:{port}/json')
    client.close()
    tabs = json.loads(answer.body)
    url = next(tab['webSocketDebuggerUrl'] for tab in tabs if tab['type'] == 'page')
    return await websocket.websocket_connect(url, max_message_size=2**28)

  def call(self, method, **parameters):
    """The result of a command of the protocol."""
    number = next(self._ids)
    message = {'id': number, 'method': method, 'params': parameters}
    return self._until(lambda answer: answer.get('id') == number, message)['result']

  def _until(self, wanted, message=None):
    """Sends a message, if there is one, and reads until there is what is wanted."""

    async def read():
      if message is not None:
        await self._socket.write_message(json.dumps(message))
      while True:
        answer = json.loads(await self._socket.read_message())
        if 'method' in answer:
          self.events.append((answer['method'], answer['params']))
        if wanted(answer):
          assert 'error' not in answer, answer
          return answer

    return self._loop.run_until_complete(asyncio.wait_for(read(), _PATIENCE))

  def open(self, file: pathlib.Path, width=1000, height=800):
    """Opens a file and waits for it to be drawn."""
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    self.events.clear()
    self.call('Page.navigate', url=file.resolve().as_uri())
    self._until(lambda answer: answer.get('method') == 'Page.loadEventFired')
    self.settle()

  def run(self, script):
    """The value of an expression, or of the promise that it is."""
    answer = self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
    assert 'exceptionDetails' not in answer, answer
    return answer['result'].get('value')

  def settle(self):
    """Until what is to be drawn has been."""
    frame = 'new Promise((done) => requestAnimationFrame(done))'
    self.run(f'{frame}.then(() => {frame})')

  def press(self, key):
    """A key of the keyboard, in whatever has the focus."""
    code, text, number = _KEYS.get(key, ('', key, 0))
    same = {'key': key, 'code': code, 'windowsVirtualKeyCode': number}
    self.call('Input.dispatchKeyEvent', type='keyDown', text=text, **same)
    self.call('Input.dispatchKeyEvent', type='keyUp', **same)
    self.settle()

  def drag(self, start, end):
    """With the left button of the mouse, from x, y to x, y in CSS pixels."""
    steps = [('mousePressed', start), ('mouseMoved', end), ('mouseReleased', end)]
    for kind, (x, y) in steps:
      self.call(
        'Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', buttons=1, clickCount=1
      )
    self.settle()

  def wheel(self, place, delta):
    """Turns the wheel of the mouse at x, y."""
    x, y = place
    self.call('Input.dispatchMouseEvent', type='mouseWheel', x=x, y=y, deltaX=0, deltaY=delta)
    self.settle()

  def screenshot(self, file: pathlib.Path):
    """Of the whole page."""
    size = self.call('Page.getLayoutMetrics')['cssContentSize']
    data = self.call(
      'Page.captureScreenshot', captureBeyondViewport=True, clip={**size, 'scale': 1}
    )
    file.write_bytes(base64.b64decode(data['data']))

  def complaints(self):
    """Errors and warnings of the console, and uncaught exceptions."""
    return [
      (method, parameters)
      for method, parameters in self.events
      if method == 'Runtime.exceptionThrown'
      or (method == 'Runtime.consoleAPICalled' and parameters['type'] in ('error', 'warning'))
      or (method == 'Log.entryAdded' and parameters['entry']['level'] in ('error', 'warning'))
    ]

  def requests(self):
    """Addresses that the page asked for, those within itself left out."""
    sent = [p for method, p in self.events if method == 'Network.requestWillBeSent']
    urls = [parameters['request']['url'] for parameters in sent]
    return [url for url in urls if not url.startswith('data:')]
