"""Who the members are: pseudonyms, credentials, consents, the feeds that tell kiosks of them, and the member page."""
