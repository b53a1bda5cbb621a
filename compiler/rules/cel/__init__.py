"""A strict subset of Google's CEL for conditions: its own lexer and parser, our AST."""
