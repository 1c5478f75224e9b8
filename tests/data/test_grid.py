"""The contact sheet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hdit_repro.data.grid import save_grid


def test_places(tmp_path):
    images = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "deep" / "grid.png"
    save_grid(images, path, columns=3)
    sheet = np.array(Image.open(path))
    assert sheet.shape == (8, 18, 3)
    for i in range(5):
        row, column = divmod(i, 3)
        place = sheet[row * 4 : row * 4 + 4, column * 6 : column * 6 + 6]
        np.testing.assert_array_equal(place, images[i].permute(1, 2, 0).numpy())
    assert (sheet[4:, 12:] == 0).all()
    assert [p.name for p in path.parent.iterdir()] == ["grid.png"]


@pytest.mark.parametrize(
    ("images", "columns"),
    [
        (torch.zeros(1, 3, 4, 4), 1),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), 1),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), 1),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 0),
    ],
)
def test_bad_input_writes_nothing(tmp_path, images, columns):
    with pytest.raises(ValueError, match="uint8 B 3 H W"):
        save_grid(images, tmp_path / "grid.png", columns)
    assert list(tmp_path.iterdir()) == []
