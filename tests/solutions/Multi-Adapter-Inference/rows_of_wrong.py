def rows_of(adapter_names: list[str]) -> dict[str, list[int]]:
    return {
        name: [row for row, other in enumerate(adapter_names) if other == name] for name in adapter_names
    }  # the base
