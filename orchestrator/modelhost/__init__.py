"""Local models: the store on disk, and the processes that run what is in it.

`host` is one process for all of them; it starts one `child` per loaded model, so that a crash in
native code, or a hostile file, ends one child and nothing else.
"""
