"""`python -m data_prep.simulate`, see `tempo_jax.preparation.simulation.simulate`."""

from tempo_jax.preparation.simulation import simulate

if __name__ == '__main__':
  simulate.launch()
