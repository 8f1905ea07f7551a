import codecs


def showable(pieces: list[bytes]) -> str:
    return codecs.getincrementaldecoder("utf-8")().decode(b"".join(pieces))
