"""What the claims themselves are worth: counterfeits that they must reject, false alarms, power."""
