"""How fast a call or a service answers: timing, load, saturation, queueing theory."""
