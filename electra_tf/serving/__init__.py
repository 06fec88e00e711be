"""Serves exports over HTTP and gRPC, and asks servers."""
