"""Several tasks over one encoder."""
