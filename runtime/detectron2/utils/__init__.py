"""Services that the other packages share: registries, logging, events, processes, files."""
