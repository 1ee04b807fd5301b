"""An engine that is a server: the same requests over HTTP, many in flight."""
