"""What happened: records become exact bytes, bytes a chain, the chain gets signed heads. Pure: no file, no clock."""
