"""The evidence: what was done, in order, so that a stranger can check it.

    rb:audit -> redis_inlet -> writer -> store (SQLite) -> publish -> tiles + checkpoint
                               |  leaf, seal, tree, note                    |
                               +-- marks rb:audit:durable        verify, prove, witness, export

This package imports nothing of the project that it is evidence about. `python -m audit verify`
needs nothing but `cryptography`, so `orjson` and `redis` are imported only where records are
written.
"""
