"""What all readers of raw files share."""

from cenote.data import media


def test_memory_is_what_a_container_may_have(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(media, "LIMITS", (str(limit), str(tmp_path / "nowhere")))
    whole = media.memory_share(1)
    limit.write_text("1000000\n")
    assert media.memory_share(4) == 250_000
    limit.write_text("max\n")
    assert media.memory_share(1) == whole > 1_000_000
