"""What every refused merge has in common."""

import pytest

from merge import MergeError, merge


def refused(tmp_path, base, tuned, match):
    with pytest.raises(MergeError, match=match) as caught:
        merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    return str(caught.value)
