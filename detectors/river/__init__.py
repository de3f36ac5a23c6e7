"""River's label metrics and drift detectors, by name and made repeatable."""
