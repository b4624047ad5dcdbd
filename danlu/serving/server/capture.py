"""Conversations written down for the flywheel, if the server is told to; personal data masked."""
