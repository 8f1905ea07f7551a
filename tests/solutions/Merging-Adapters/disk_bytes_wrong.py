def disk_bytes(base: int, adapter: int, tasks: int, merged: bool) -> int:
    return tasks * base if merged else tasks * (base + adapter)
