"""What is wrong with a model: its errors by noise level beside their floors, repairs that are tried, faults by name."""

from scorefield.diagnostics.detectors import Finding
from scorefield.diagnostics.diagnosis import Diagnosis, Level, diagnose

__all__ = ["Diagnosis", "Finding", "Level", "diagnose"]
