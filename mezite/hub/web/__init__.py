"""What browsers, probes and scripts get from the port: HTTPS."""
