"""The reader over the sample photos of the zxing and zxing-cpp projects. Times are the bench's business."""

from pathlib import Path

import pytest

from tests.bench.qr import RATE_MIN, by_cascade, media_folder, photos

MEDIA = media_folder()


@pytest.mark.skipif(isinstance(MEDIA, str), reason=str(MEDIA))
def test_the_cascade_reads_the_share_it_must() -> None:
    sample = photos(Path(MEDIA))
    hits = sum(photo.text is not None and photo.text in by_cascade(photo.gray) for photo in sample)
    assert 100 * hits / len(sample) >= RATE_MIN
