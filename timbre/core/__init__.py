"""What every room stands on: records, parameters, content keys, errors, text."""
