def showable(pieces: list[bytes]) -> str:
    return "".join(piece.decode("utf-8", errors="ignore") for piece in pieces)
