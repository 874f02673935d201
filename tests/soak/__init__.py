"""A cluster that works for half an hour while its connections are cut and its programs die."""
