"""The slow, obvious twin of `eim._fast.esipa.read_poll`: builds every plain poll that can be meant and compares."""


def read_poll(data: bytes) -> tuple[bytes, bool, int, bytes | None, int] | None:
    if len(data) < 21:
        return None
    eid, rest = data[5:21], data[21:]
    for state_change in (False, True):
        for has_cause in (False, True):
            for plmn_tag in (0, 0x81, 0x82):
                if plmn_tag == 0x81 and has_cause:
                    continue
                at = 2 * state_change
                cause = rest[at + 2] if has_cause and len(rest) > at + 2 else -1
                plmn = rest[-3:] if plmn_tag else None
                content = b"\x5a\x10" + eid + b"\x80\x00" * state_change
                content += bytes((0x81, 1, cause)) if has_cause and cause >= 0 else b""
                content += bytes((plmn_tag, 3)) + plmn if plmn else b""
                built = b"\xbf\x4f" + bytes((len(content),)) + content
                if built == data and cause < 0x80:
                    return eid, state_change, cause, plmn, plmn_tag
    return None
