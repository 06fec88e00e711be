"""Classes, labels or numbers for texts and pairs, from any table."""
