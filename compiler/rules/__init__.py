"""The rule language: parse, check, reference meaning, generated code, analysis."""
