def read_result(
    data: bytes,
) -> (
    tuple[
        tuple[bytes | None, int], tuple[bytes, bytes, bytes], tuple[str, int, bytes, int], list[tuple[int, int, bytes]]
    ]
    | None
): ...
