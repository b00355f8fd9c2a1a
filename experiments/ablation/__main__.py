"""`python -m experiments.ablation`."""

from experiments.ablation import ablation

if __name__ == '__main__':
  ablation.launch()
