"""Models that are not bundled: offered, pulled from a hub, imported, checked, removed."""
