"""Signals are heard while something outside Python works."""

import signal
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from tempo_jax.compilation import ahead_of_time, interruption


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch):
  monkeypatch.setattr(interruption, '_left', threading.Event())


def test_calls_and_raises_as_the_function_does():
  assert interruption.call(lambda a, b: a - b, 5, b=3) == 2
  with pytest.raises(ZeroDivisionError) as error:
    interruption.call(lambda: 1 // 0)
  assert error.traceback[-1].lineno
  assert not interruption.is_left()


def test_ctrl_c_does_not_wait():
  wait, ended = threading.Event(), threading.Event()
  main = threading.get_ident()

  def works():
    signal.pthread_kill(main, signal.SIGINT)
    wait.wait(60)
    ended.set()

  earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
  started = time.monotonic()
  try:
    with pytest.raises(KeyboardInterrupt):
      interruption.call(works)
    assert not ended.is_set()
    assert time.monotonic() - started < 5.0
    assert interruption.is_left()
  finally:
    signal.signal(signal.SIGINT, earlier)
    wait.set()
  assert ended.wait(10)


def test_other_threads_wait_themselves():
  found = []

  def works():
    found.append(threading.current_thread())

  thread = threading.Thread(target=lambda: interruption.call(works))
  thread.start()
  thread.join()
  assert found == [thread]


def test_programs_are_compiled_beside_the_main_thread(monkeypatch):
  found = []
  compile_ = jax.stages.Lowered.compile

  def spy(lowered, **options):
    found.append(threading.current_thread())
    return compile_(lowered, **options)

  ahead_of_time.options()  # Which compiles something, too.
  monkeypatch.setattr(jax.stages.Lowered, 'compile', spy)
  assert float(ahead_of_time.compiled(jax.jit(jnp.square), 3.0)(3.0)) == 9.0
  (thread,) = found
  assert thread is not threading.main_thread()
