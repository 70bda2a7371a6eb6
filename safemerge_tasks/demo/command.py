"""The `safemerge demo` command."""


def demo() -> None:
    """Run the whole story on the toy family."""
    raise NotImplementedError
