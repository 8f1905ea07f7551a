def rows_of(adapter_names: list[str]) -> dict[str, list[int]]:
    rows = {}
    for row, name in enumerate(adapter_names):
        if name != "__base__":
            rows.setdefault(name, []).append(row)
    return rows
