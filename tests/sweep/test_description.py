"""What a folder says of itself survives JSON."""

import json

from widebasin.statistics import ACCURACY, LOSS
from widebasin.sweep.description import AxisFacts, Description, MethodFacts, Published

DESCRIPTION = Description(
    title="digits, MLP",
    model="mlp",
    data="digits",
    metrics=(ACCURACY, LOSS),
    methods={"sgd": MethodFacts("AdamW", 1.0), "sam": MethodFacts("SAM", 2.0)},
    axes=(AxisFacts("label_noise", "label noise {}", percent=True),),
    recipe=("60 epochs", "AdamW"),
    published=Published({882: 0.1}, "arXiv 2311.17539", {"label_noise": [0.0]}),
)


def test_a_description_survives_json():
    assert Description.from_record(json.loads(json.dumps(DESCRIPTION.record()))) == DESCRIPTION
    assert DESCRIPTION.metric is ACCURACY
