"""Serves exports over HTTP and gRPC, and has clients for servers."""
