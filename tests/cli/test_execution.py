import io
import re
import time

from tempo_jax.cli import execution


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_seconds_are_counted_on_a_terminal(monkeypatch):
  terminal = Terminal()
  monkeypatch.setattr('sys.stdout', terminal)
  with execution.Compiling() as compiling:
    deadline = time.monotonic() + 20.0
    while ' 1 s' not in terminal.getvalue() and time.monotonic() < deadline:
      time.sleep(0.05)
  compiling.stop()
  text = terminal.getvalue()
  assert re.fullmatch(r'(\rcompiling for \S+ \.\.\. \d+ s)+\n', text)
  assert ' 1 s' in text


def test_a_log_gets_one_line(capsys):
  with execution.Compiling():
    pass
  assert re.fullmatch(r'compiling for \S+ \.\.\.\n', capsys.readouterr().out)
