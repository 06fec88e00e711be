"""Models on disk: our directories now, other formats next to them."""
