from widebasin.report import drawing


def test_names_in_words():
    assert drawing.method_name("unnormalized-sam") == "unnormalized SAM"
    assert drawing.method_name("a method of one's own") == "a method of one's own"
    assert drawing.setting_name({"label_noise": 0.07, "weight_decay": 1e-4}, ["label_noise", "weight_decay"]) == (
        "label noise 7%, weight decay 0.0001"
    )
    assert drawing.setting_name({}, []) == ""
