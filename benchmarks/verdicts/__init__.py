"""What the analysis says of sweeps whose truth is known: docs/verdicts.md."""
