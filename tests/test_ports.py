import socket

from support import ports


def test_no_port_is_given_twice_or_while_it_is_taken(monkeypatch):
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(ports, "LAST", ports.FIRST + 40)
    with socket.socket() as other:
        for taken in range(ports.FIRST, ports.LAST):
            try:
                other.bind(("127.0.0.1", taken))
                break
            except OSError:
                continue
        other.listen()
        given = []
        try:
            while True:
                given.append(ports.free_port())
        except RuntimeError as error:
            assert "taken" in str(error)
    assert given
    assert len(given) == len(set(given))
    assert taken not in given
