"""The election of TIES, computed by hand."""

import torch

from merge.methods.math.sign_election import elect_and_average


def test_elect_hand_computed():
    one, two, three = (
        torch.tensor(row)
        for row in ([1.0, -2.0, 0.0, 3.0], [3.0, 1.0, 0.0, -3.0], [0.0, 0.0, 0.0, 0.0])
    )
    mean = elect_and_average([one, two, three], [1.0, 1.0, 1.0], normalize=True)
    assert mean.tolist() == [2.0, -2.0, 0.0, 3.0]
    total = elect_and_average([one, two, three], [1.0, 0.5, 1.0], normalize=False)
    assert total.tolist() == [2.5, -2.0, 0.0, 3.0]
