import pytest

from tempo_jax.training import metric_writer


def test_what_was_written_is_read(tmp_path):
  writer = metric_writer.MetricWriter(str(tmp_path))
  writer.write(2, {'loss': 0.5})
  writer.write(4, {'loss': 0.25, 'steps_per_s': 2.0})
  writer.close()
  with open(tmp_path / metric_writer.METRICS_FILE, 'a') as file:
    file.write('{"step": 6, "lo')  # Of a killed run.
  assert metric_writer.read(tmp_path) == [
    {'step': 2, 'loss': 0.5},
    {'step': 4, 'loss': 0.25, 'steps_per_s': 2.0},
  ]


def test_training_seconds_are_those_of_all_steps():
  lines = [
    {'step': 0, 'validation_loss': 1.0},
    {'step': 100, 'steps_per_s': 10.0},
    {'step': 150, 'validation_loss': 0.5},
    {'step': 200, 'steps_per_s': 20.0},
  ]
  assert metric_writer.training_seconds(lines) == pytest.approx(100 / 10.0 + 100 / 20.0)
  assert metric_writer.training_seconds([]) == 0.0
