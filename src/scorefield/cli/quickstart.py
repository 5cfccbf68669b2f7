def quickstart() -> None:
    """x"""
