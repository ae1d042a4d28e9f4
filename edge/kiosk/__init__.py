"""The kiosk's screen: a local page and the small server that feeds it. Shows what `agent` says, decides nothing."""
